"""What a set of records lets one say, in plain sentences, each with interval and n. Pure.

The sentences of results/*.md: made from the records, so that they change with them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Literal

from harness.analysis.aggregate import OverScenarios, aggregates
from harness.analysis.comparison import Table, apart, comparison, places
from harness.analysis.pairs import combined, longest, teacher_sizes
from harness.analysis.provenance import mixture
from harness.analysis.rows import BASELINE, ENOUGH_SEEDS, ORACLE, Row
from harness.analysis.statistics import Difference, smallest_difference
from harness.analysis.wording import interval, joined, signed, sizes
from harness.records.schema import Record

Question = Literal["gains", "power", "together", "teachers", "combined"]
PLACES = {
    "generated data": "On generated data",
    "generated source": "On photographs, learning from generated streets",
    "": "On real data",
}


@dataclass(frozen=True)
class Claim:
    """A sentence, or two that belong together."""

    about: Question | None  # None: a warning of what the runs differ in, whatever is asked
    place: str  # where it holds: the data and the profile
    text: str


@dataclass(frozen=True)
class _Gain:
    """A method's gain in one scenario, at its longest schedule whose gain is known."""

    scenario: str
    difference: Difference
    beyond: int | None  # source-only's longest schedule, where even that took less time


def claims(records: Iterable[Record]) -> list[Claim]:
    """All that the records let one say, place by place; empty where that is nothing."""
    answers: dict[Question | None, Callable[[Sequence[Table]], list[str]]] = {
        "gains": _gains,
        "power": _power,
        "together": _together,
        "teachers": lambda tables: [text for table in tables for text in teacher_sizes(table)],
        "combined": lambda tables: [text for table in tables for text in combined(table)],
        None: _mixtures,
    }
    found = (
        Claim(about, _place(tables), text)
        for tables in places(comparison(records))
        for about, answer in answers.items()
        for text in answer(tables)
    )
    return list(dict.fromkeys(found))  # what is said of two scenarios alike is said once


def _mixtures(tables: Sequence[Table]) -> list[str]:
    """Warnings of what runs differ in, with the scenario where another has not the same."""
    warnings = [(table.scenario.title, mixture(table.runs)) for table in tables]
    return [
        text
        if all(text in others for _, others in warnings)
        else text.replace("Warning:", f"Warning, on {title}:", 1)
        for title, texts in warnings
        for text in texts
    ]


def _place(tables: Sequence[Table]) -> str:
    profile = f"profile {tables[0].profile_name}"
    return f"{PLACES[tables[0].generated]}, {', '.join([profile, *apart(tables)])}"


def _gains(tables: Sequence[Table]) -> list[str]:
    """Gains over source-only, at equal steps and, where known, at equal seconds."""
    if not any(row.gain_at_seconds for table in tables for row in table.rows):
        return _gains_over(tables, attrgetter("gain"), "")
    return [
        *_gains_over(tables, attrgetter("gain"), "At equal steps, "),
        *_gains_over(tables, attrgetter("gain_at_seconds"), "At equal seconds, "),
    ]


def _gains_over(
    tables: Sequence[Table], gain: Callable[[Row], Difference | None], basis: str
) -> list[str]:
    """Methods better than source-only, those worse, and those not told from it."""
    by_method: dict[str, list[_Gain]] = defaultdict(list)
    oracles: dict[str, list[_Gain]] = defaultdict(list)
    for table in tables:
        for row in longest(table, lambda row: _is_known(gain(row))):
            if (of_row := gain(row)) and _is_known(of_row):
                methods = oracles if row.method == ORACLE else by_method
                beyond = row.gain_beyond if of_row is row.gain_at_seconds else None
                gained = _Gain(table.scenario.title, of_row, beyond)
                methods[_name(row, table)].append(gained)
    alike: dict[tuple[str, tuple[str, ...]], dict[str, list[_Gain]]] = defaultdict(dict)
    for name, each in by_method.items():
        alike[_verdict(each), tuple(one.scenario for one in each)][name] = each
    sentences = {
        "above": _clear,
        "below": _clear,
        "longest": _clear,
        "opposite": _clear,
        "mixed": _clear,
        "untold": _untold,
    }
    texts = [
        sentence(verdict, methods)
        for verdict, sentence in sentences.items()
        for (of_these, _), methods in alike.items()
        if of_these == verdict
    ]
    texts += [
        f"training on the target's labels ({name}) is worth {_points(each)} "
        f"({sizes(one.difference for one in each)})."
        for name, each in oracles.items()
    ]
    return [f"{basis}{text}" if basis else text[0].upper() + text[1:] for text in texts]


def _is_known(gain: Difference | None) -> bool:
    return gain is not None and gain.n >= ENOUGH_SEEDS and math.isfinite(gain.low)


def _verdict(each: Sequence[_Gain]) -> str:
    """Of one method's gains: the same in every scenario, or mixed."""
    if all(map(_told_here_alone, each)):
        return "longest"
    told = {
        0 if not one.difference.significant else 1 if one.difference.mean > 0 else -1
        for one in each
    }
    if len(told) > 1:
        return "mixed" if 0 in told else "opposite"
    return {1: "above", -1: "below", 0: "untold"}[told.pop()]


def _clear(verdict: str, methods: dict[str, list[_Gain]]) -> str:
    what = {
        "above": f"beyond chance above {BASELINE}",
        "below": f"beyond chance below {BASELINE}",
        "longest": f"beyond chance from {BASELINE} at this length, not at every one",
        "opposite": f"beyond chance above {BASELINE} in one scenario, below it in another",
        "mixed": f"beyond chance from {BASELINE} in one scenario, not so in another",
    }[verdict]
    if verdict == "longest":  # said once, and not by a mark at each
        methods = {name: [_lasting(one) for one in each] for name, each in methods.items()}
    listed = "; ".join(f"{name} by {_points(each)}" for name, each in methods.items())
    return f"{what}: {listed} ({_sizes(methods)})."


def _lasting(gain: _Gain) -> _Gain:
    return replace(gain, difference=replace(gain.difference, lasts=True))


def _untold(_: str, methods: dict[str, list[_Gain]]) -> str:
    gains = [one.difference for each in methods.values() for one in each]
    scenarios = [one.scenario for one in next(iter(methods.values()))]
    means, low, high = (
        [g.mean for g in gains],
        min(g.low for g in gains),
        max(g.high for g in gains),
    )
    reach = signed(min(means)) + (f" to {signed(max(means))}" if len(means) > 1 else "")
    where = f"not told from {BASELINE} on {joined(scenarios)}"
    return (
        f"{where}: {joined(list(methods))}, {reach} points, 95 % intervals within [{low:.1f}, "
        f"{high:.1f}] ({_sizes(methods).partition(';')[0]})."
    )


def _points(each: Sequence[_Gain]) -> str:
    """`+6.3 points on A [3.3, 9.2] and +8.9 on B [6.4, 11.5]`."""
    texts: list[str] = []
    for one in each:
        unit = "" if texts else " points"
        at = f"{signed(one.difference.mean)}{unit} on {one.scenario} {interval(one.difference)}"
        asides = ", ".join(_asides(one))
        texts.append(f"{at} ({asides})" if asides else at)
    return joined(texts)


def _asides(gain: _Gain) -> Iterator[str]:
    """Where even source-only's longest schedule took less time, or another length says no."""
    if gain.beyond:
        yield f"beyond x{gain.beyond}"
    if _told_here_alone(gain):
        yield "told at this length, not at every one"


def _told_here_alone(gain: _Gain) -> bool:
    return gain.difference.told_here and not gain.difference.lasts


def _sizes(methods: dict[str, list[_Gain]]) -> str:
    return sizes(one.difference for each in methods.values() for one in each)


def _name(row: Row, table: Table) -> str:
    """The row's label, with its student and its teacher where others differ from it in them."""
    alike = [other for other in table.rows if other.label == row.label]
    name = row.label
    if len({other.student for other in table.rows if other.method != BASELINE}) > 1:
        name += f" of {row.student}"
    if len({other.teachers for other in alike}) > 1:
        name += f" <- {' + '.join(row.teachers) or 'no teacher'}"
    return name


def _power(tables: Sequence[Table]) -> list[str]:
    """The smallest difference that each table's seeds can see."""
    seen = []
    for table in tables:
        gains = [gain for row in table.rows for gain in (row.gain, row.gain_at_seconds) if gain]
        tested = [gain for gain in gains if math.isfinite(gain.p_holm)]
        if tested and table.noise:
            n, count = min(gain.n for gain in tested), len(tested)
            points = smallest_difference(table.noise.methods, table.noise.baseline, n, count)
            comparisons = f"{count} comparison{'s' if count > 1 else ''}"
            seen.append(
                f"{points:.1f} points on {table.scenario.title} (n = {n} seeds, {comparisons})"
            )
    if not seen:
        return []
    return [
        f"A true difference is found four times in five where it is {joined(seen)}; a smaller one "
        "may well stay unseen."
    ]


def _together(tables: Sequence[Table]) -> list[str]:
    """Over all scenarios at once, the scenario as a random effect."""
    texts = []
    for aggregate in aggregates(tables):
        gains = {_over(row, aggregate.rows): row.gain for row in aggregate.rows if row.gain}
        if not gains or not all(math.isfinite(gain.low) for gain in gains.values()):
            continue
        told = [
            f"{name} by {signed(gain.mean)} points {interval(gain)}"
            for name, gain in gains.items()
            if gain.significant
        ]
        rest = [gain for gain in gains.values() if not gain.significant]
        left = [name for name, gain in gains.items() if not gain.significant]
        beyond = [f"beyond chance: {joined(told)}"] if told else []
        if left:
            low, high = min(gain.low for gain in rest), max(gain.high for gain in rest)
            beyond.append(
                f"not told from {BASELINE}: {joined(left)}, within [{low:.1f}, {high:.1f}]"
            )
        n = next(iter(gains.values())).n
        texts.append(
            f"Over {joined(aggregate.scenarios)} together, the scenario as a random effect, "
            f"{'; '.join(beyond)} (n = {n} scenarios)."
        )
    return texts


def _over(row: OverScenarios, rows: Sequence[OverScenarios]) -> str:
    """The row's label, with its student and its teacher where others differ from it in them."""
    alike = [other for other in rows if other.label == row.label]
    student = f" of {row.student}" if len({other.student for other in rows}) > 1 else ""
    taught = f" <- {' + '.join(row.teachers) or 'no teacher'}"
    return f"{row.label}{student}{taught if len({r.teachers for r in alike}) > 1 else ''}"
