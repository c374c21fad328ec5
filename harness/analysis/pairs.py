"""Rows of a table against one another: frozen teachers' sizes, methods joined by `+`. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import islice

from harness.analysis.comparison import Table
from harness.analysis.equal_cost import times_as_long
from harness.analysis.rows import ENOUGH_SEEDS, Row, noise_of
from harness.analysis.statistics import Difference, corrected, difference
from harness.analysis.wording import interval, joined, sizes


def is_scored(row: Row) -> bool:
    """Of enough seeds, each with a score."""
    return row.miou.n >= ENOUGH_SEEDS and math.isfinite(row.miou.mean)


def longest(table: Table, is_known: Callable[[Row], bool] = is_scored) -> list[Row]:
    """Of rows that differ in the length of their schedule alone, the longest that is known."""
    rows = {
        (row.name, row.student, row.teachers): row
        for row in sorted(table.rows, key=lambda r: (is_known(r), r.length))
    }
    return [row for row in table.rows if row in rows.values()]


def teacher_sizes(table: Table) -> list[str]:
    """Rows that differ in the frozen teacher alone: each larger one against the smallest."""
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in longest(table):
        # Trained before the student, not beside it, and of a size that is known.
        frozen = row.teachers and row.teacher_seconds != 0 and row.training_parameters_m
        if frozen and is_scored(row):
            alike[row.label, row.student].append(row)
    by_size = [
        sorted(rows, key=lambda row: row.training_parameters_m or 0) for rows in alike.values()
    ]
    compared = _differences([[(row, s) for row in larger] for s, *larger in by_size], table)
    texts = []
    for (smallest, *larger), gains in zip(by_size, compared, strict=True):
        if not gains:
            continue
        label = smallest.label
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
    pairs = [[(row, other) for other in rows if _is_part(other, row)] for row in rows]
    for row, alone, gains in zip(rows, pairs, _differences(pairs, table), strict=True):
        scores = [
            f"{_more(gain)} than {other.label} alone {interval(gain)}{_times(row, other)}"
            for (_, other), gain in zip(alone, gains, strict=bool(gains))
        ]
        if scores:
            texts.append(
                f"{row.label} scores {joined(scores)} on {table.scenario.title} ({sizes(gains)})."
            )
    return texts


def _is_part(other: Row, row: Row) -> bool:
    """Whether a row is of one of the methods that another joins, and alike in all else."""
    parts = row.method.split("+")
    return (
        len(parts) > 1
        and other.method in parts
        and (other.student, other.length) == (row.student, row.length)
        and not other.variant
        and other.teachers in ((), row.teachers)
    )


def _differences(
    groups: Sequence[Sequence[tuple[Row, Row]]], table: Table
) -> list[list[Difference]]:
    """Of each pair the first less the second, corrected over those of all groups of the table.

    A group with a pair of too few seeds has none.
    """
    compared = [[_difference(a, b, table) for a, b in pairs] for pairs in groups]
    told = [
        [] if any(d.n < ENOUGH_SEEDS or not math.isfinite(d.low) for d in each) else each
        for each in compared
    ]
    all_of_them = iter(corrected([d for each in told for d in each], ENOUGH_SEEDS))
    return [[d for d in islice(all_of_them, len(each)) if d] for each in told]


def _difference(a: Row, b: Row, table: Table) -> Difference:
    noises = noise_of(a.method, table.noise), noise_of(b.method, table.noise)
    return difference(_by_seed(a), _by_seed(b), *noises)


def _by_seed(row: Row) -> dict[int, float]:
    return dict(zip(row.seeds, row.scores, strict=True))


def _more(gain: Difference) -> str:
    return f"{abs(gain.mean):.1f} points {'more' if gain.mean >= 0 else 'less'}"


def _times(row: Row, other: Row) -> str:
    times = times_as_long(row.seconds_on, other.seconds_on)
    return f" at {times:.2g} times its training seconds" if times is not None else ""
