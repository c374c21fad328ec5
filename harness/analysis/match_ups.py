"""Two methods -> the pairs of their rows that are held against each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.comparison import Table, comparison, newest, spelled_differences
from harness.errors import BenchError
from harness.records.schema import Record, unlabelled


@dataclass(frozen=True)
class MatchUp:
    """The runs of one row of either method. Both stand in one table."""

    a: Sequence[Record]
    b: Sequence[Record]
    labels: tuple[str, str]
    where: dict[str, str]  # scenario, profile, and what else sets that table apart


def match_ups(names: tuple[str, str], a: Sequence[Record], b: Sequence[Record]) -> list[MatchUp]:
    """Each row of `a` against each of `b` in the same table, in the tables' order.

    Where some have schedules of one length, only those; of these where some have the same student,
    only those; where some targets have labels, only those. `names` is what the user calls the two.
    BenchError where none may be compared.
    """
    a, b = done(a), done(b)
    tables = [
        (table, _rows(table, a), _rows(table, b)) for table in comparison(newest([*a, *b])[0])
    ]
    found = [(table, of_a, of_b) for table, of_a, of_b in tables if of_a and of_b]
    if not found:
        differing = spelled_differences([a[0], b[0]])
        how = "; ".join(f"{name} {' against '.join(v)}" for name, v in differing.items())
        raise BenchError(f"{names[0]} and {names[1]} may not be compared: {how}.")
    each = [one for table, of_a, of_b in found for one in _in_table(table, of_a, of_b)]
    each = [m for m in each if not all(map(unlabelled, [*m.a, *m.b]))] or each
    if not each:
        raise BenchError(
            f"{names[0]} and {names[1]} are runs of the same settings: two methods, or two "
            "settings of one, expected."
        )
    return each


def done(records: Sequence[Record]) -> list[Record]:
    """Those with scores, each run once."""
    return newest(r for r in records if r.state == "done" and r.metrics)[0]


def _rows(table: Table, side: Sequence[Record]) -> dict[str, list[Record]]:
    """The side's runs in a table, by the label of their row."""
    ids = {record.run_id for record in side}
    rows = {label: [r for r in runs if r.run_id in ids] for label, runs in table.runs.items()}
    return {label: runs for label, runs in rows.items() if runs}


def _in_table(
    table: Table, a: dict[str, list[Record]], b: dict[str, list[Record]]
) -> list[MatchUp]:
    apart = ", ".join(f"{name} {value}" for name, value in table.differs.items())
    where = {"scenario": table.scenario.name, "profile": table.profile_name, "settings": apart}
    pairs: list[MatchUp] = []
    for label_a, of_a in a.items():
        for label_b, of_b in b.items():
            turned = any(m.labels == (label_b, label_a) for m in pairs)  # both sides hold both
            if label_a != label_b and not turned:
                pairs.append(MatchUp(of_a, of_b, (label_a, label_b), where))
    as_long = [m for m in pairs if m.a[0].spec.profile.length == m.b[0].spec.profile.length]
    pairs = as_long or pairs
    return [m for m in pairs if m.a[0].spec.student == m.b[0].spec.student] or pairs
