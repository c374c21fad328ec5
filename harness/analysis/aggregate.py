"""Several scenarios' tables -> one: how each method does over all of them. Pure.

Runs of one seed on several scenarios are not independent of one another, and a method's scores on
two scenarios go together (0.98 correlated over the published rows): the unit is
the scenario, a random effect, and not the run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.comparison import Table, apart, places
from harness.analysis.rows import BASELINE, Row, at_every_length, row_names
from harness.analysis.statistics import (
    Difference,
    Noise,
    corrected,
    interquartile_mean,
    noise_within_blocks,
    pooled_difference,
    probability_of_improvement,
)
from harness.analysis.variants import settings

ENOUGH_SCENARIOS = 2


@dataclass(frozen=True)
class OverScenarios:
    """One method over all scenarios of an aggregate. Percent and points."""

    label: str
    student: str
    teachers: tuple[str, ...]
    runs: int
    interquartile_mean: float  # over the runs of all scenarios
    gain: Difference | None  # over source_only, its n is of scenarios
    improvement: float | None  # probability that a run is above one of source_only


@dataclass(frozen=True)
class Aggregate:
    """The rows that each of several scenarios' tables has."""

    scenarios: tuple[str, ...]
    profile: str  # with its edition
    differs: list[str]  # what sets it apart from others of the profile
    generated: str
    rows: list[OverScenarios]
    noise: Noise | None  # of a method's mean on a scenario, once scenarios' own means are out
    left_out: list[str]  # rows that not every scenario has, or that have no figure


def aggregates(tables: Sequence[Table]) -> list[Aggregate]:
    """One for each profile that has tables of two scenarios or more, alike in all else."""
    return [_aggregate(group) for group in places(tables) if len(group) >= ENOUGH_SCENARIOS]


def _aggregate(tables: Sequence[Table]) -> Aggregate:
    by_table = [_by_settings(table) for table in tables]
    shared = [
        name
        for name in by_table[0]
        if all(name in rows and math.isfinite(rows[name].miou.mean) for rows in by_table)
    ]
    missing = dict.fromkeys(row.label for rows in by_table for n, row in rows.items()
                            if n not in shared)  # fmt: skip
    over = [[rows[name] for rows in by_table] for name in shared]
    means = [{str(i): row.miou.mean for i, row in enumerate(rows)} for rows in over]
    settings_of = [str((rows[0].name, rows[0].student, rows[0].teachers)) for rows in over]
    # A method deviates alike at all of its lengths.
    left = noise_within_blocks(means, len(set(settings_of))) if means else None
    baselines = [_baseline(rows[0], over) for rows in over]
    gains = at_every_length(
        corrected(
            [
                _gain(rows, baseline, left) if baseline and left else None
                for rows, baseline in zip(over, baselines, strict=True)
            ],
            ENOUGH_SCENARIOS,
        ),
        settings_of,
    )
    return Aggregate(
        scenarios=tuple(table.scenario.title for table in tables),
        profile=tables[0].profile_name,
        differs=apart(tables),
        generated=tables[0].generated,
        rows=[
            OverScenarios(
                label=max((row.label for row in rows), key=len),
                student=rows[0].student,
                teachers=rows[0].teachers,
                runs=sum(row.miou.n for row in rows),
                interquartile_mean=interquartile_mean(s for row in rows for s in row.scores),
                gain=gain,
                improvement=_improvement(rows, baseline) if baseline else None,
            )
            for rows, baseline, gain in zip(over, baselines, gains, strict=True)
        ],
        noise=left,
        left_out=list(missing),
    )


def _by_settings(table: Table) -> dict[str, Row]:
    """Rows by what must be equal in every scenario; a teacher's file is a scenario's own.

    Not by label: that names only what tells a row from others of its table.
    """
    rows = {}
    for name, row in zip(row_names(table.rows), table.rows, strict=True):
        of_runs = {**settings(table.runs[name][0]), "checkpoint": None}
        parts = [row.method, row.student, row.teachers, row.length, of_runs]
        rows[json.dumps(parts, sort_keys=True)] = row
    return rows


def _baseline(row: Row, over: Sequence[list[Row]]) -> list[Row] | None:
    """The only source-only rows of the same student and length."""
    alike = [
        rows
        for rows in over
        if (rows[0].method, rows[0].student, rows[0].length) == (BASELINE, row.student, row.length)
    ]
    return alike[0] if len(alike) == 1 and row.method != BASELINE else None


def _gain(rows: Sequence[Row], baseline: Sequence[Row], left: Noise) -> Difference:
    count = len(rows)
    pairs = zip(rows, baseline, strict=True)
    mean = sum(row.miou.mean - floor.miou.mean for row, floor in pairs) / count
    return pooled_difference(mean, count, count, left, left)


def _improvement(rows: Sequence[Row], baseline: Sequence[Row]) -> float:
    pairs = zip(rows, baseline, strict=True)
    return probability_of_improvement((row.scores, floor.scores) for row, floor in pairs)
