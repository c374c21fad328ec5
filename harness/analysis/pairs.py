"""Rows of a table against one another: frozen teachers' sizes, methods joined by `+`. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from harness.analysis.comparison import Table
from harness.analysis.equal_cost import times_as_long
from harness.analysis.rows import ENOUGH_SEEDS, Row, noise_of
from harness.analysis.statistics import Difference, corrected, difference
from harness.analysis.wording import interval, joined, sizes


def longest(table: Table) -> list[Row]:
    """Of rows that differ in the length of their schedule alone, the longest of enough seeds."""
    rows = {
        (row.name, row.student, row.teachers): row
        for row in sorted(table.rows, key=lambda r: (r.miou.n >= ENOUGH_SEEDS, r.length))
    }
    return [row for row in table.rows if row in rows.values()]


def teacher_sizes(table: Table) -> list[str]:
    """Rows that differ in the frozen teacher alone: each larger one against the smallest."""
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in longest(table):
        # Trained before the student, not beside it, and of a size that is known.
        frozen = row.teachers and row.teacher_seconds != 0 and row.training_parameters_m
        if frozen and row.miou.n >= ENOUGH_SEEDS:
            alike[row.label, row.student].append(row)
    texts = []
    for (label, _), rows in alike.items():
        smallest, *larger = sorted(rows, key=lambda row: row.training_parameters_m or 0)
        gains = _differences([(row, smallest) for row in larger], table)
        if not gains:
            continue
        scores = [
            f"{_more(gain)} with {_teacher(row)} {interval(gain)}"
            for row, gain in zip(larger, gains, strict=True)
        ]
        texts.append(
            f"Does a larger frozen teacher help {label} on {table.scenario.title}? "
            f"{_answer(gains)}: compared with {_teacher(smallest)}, it scores {joined(scores)} "
            f"({sizes(gains)}).{_own_scores([smallest, *larger])}"
        )
    return texts


def _answer(gains: Sequence[Difference]) -> str:
    told = {gain.mean > 0 for gain in gains if gain.significant}
    if not told:
        return "Not told"
    if told == {True, False}:
        return "One does, another harms"
    if told == {False}:
        return "No"
    return "Yes" if all(gain.significant for gain in gains) else "One does"


def _own_scores(rows: Sequence[Row]) -> str:
    known = [
        f"{_teacher(row)} {row.teacher_miou.mean:.1f} (n = {row.teacher_miou.n})"
        for row in rows
        if row.teacher_miou
    ]
    return f" The teachers' own mIoU there: {joined(known)}." if known else ""


def _teacher(row: Row) -> str:
    return " + ".join(row.teachers)


def combined(table: Table) -> list[str]:
    """Methods joined by `+`, each against its parts alone."""
    rows, texts = longest(table), []
    for row in rows:
        parts = row.method.split("+")
        alone = [
            other
            for other in rows
            if len(parts) > 1
            and other.method in parts
            and (other.student, other.length) == (row.student, row.length)
            and not other.variant
            and other.teachers in ((), row.teachers)
        ]
        gains = _differences([(row, other) for other in alone], table)
        scores = [
            f"{_more(gain)} than {other.label} alone {interval(gain)}{_times(row, other)}"
            for other, gain in zip(alone, gains, strict=bool(gains))
        ]
        if scores:
            texts.append(
                f"{row.label} scores {joined(scores)} on {table.scenario.title} ({sizes(gains)})."
            )
    return texts


def _differences(pairs: Sequence[tuple[Row, Row]], table: Table) -> list[Difference]:
    """Of each pair the first less the second, corrected over them; empty where seeds are few."""
    compared = [
        difference(
            _by_seed(a),
            _by_seed(b),
            noise_of(a.method, table.noise),
            noise_of(b.method, table.noise),
        )
        for a, b in pairs
    ]
    if any(one.n < ENOUGH_SEEDS or not math.isfinite(one.low) for one in compared):
        return []
    return [one for one in corrected(compared, ENOUGH_SEEDS) if one]


def _by_seed(row: Row) -> dict[int, float]:
    return dict(zip(row.seeds, row.scores, strict=True))


def _more(gain: Difference) -> str:
    return f"{abs(gain.mean):.1f} points {'more' if gain.mean >= 0 else 'less'}"


def _times(row: Row, other: Row) -> str:
    times = times_as_long(row.seconds_on, other.seconds_on)
    return f" at {times:.2g} times its training seconds" if times is not None else ""
