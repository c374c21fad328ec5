"""Which figures there are, and each of them for tables of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.analysis.comparison import Table
from harness.errors import BenchError
from harness.records.schema import unlabelled
from harness.report.plots import classes, confusion, curves, gains, teachers, trade_off

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of every table one figure.
OF_TABLES: dict[str, Callable[[Table, float], Figure]] = {
    "cost": lambda table, width: trade_off.draw(table, trade_off.COST, width),
    "speed": lambda table, width: trade_off.draw(table, trade_off.SPEED, width),
    "inference": lambda table, width: trade_off.draw(table, trade_off.INFERENCE, width),
    "gain": gains.draw,
    "classes": classes.draw,
    "teachers": teachers.draw,
}
#: What each kind shows, in the order of the help.
KINDS = {
    "cost": "mIoU against training seconds, the frozen teacher's included, and the Pareto front",
    "speed": "mIoU against training speed in images/s, and the Pareto front",
    "inference": "mIoU against the student's inference speed, and the Pareto front",
    "gain": "what each method gains over source_only, with 95 % intervals",
    "curves": "loss terms and speed over training, of each method",
    "classes": "IoU by class and method",
    "confusion": "what the pixels of each class are taken for, of each method",
    "qualitative": "image, label and predictions; needs the runs' weights and data",
    "teachers": "student against the size of its frozen teacher",
}


class Named(NamedTuple):
    """A figure, and what tells its file from others of that kind."""

    name: str
    figure: Figure


def figures(
    kind: str, tables: Sequence[Table], width: float, results: Path | None = None
) -> list[Named]:
    """The figures of a kind, one a table, or one a row of it; `qualitative` is drawn elsewhere.

    Tables that lack what the kind shows are left out. BenchError where all do, with the first's
    reason.
    """
    made: list[Named] = []
    reasons: list[BenchError] = []
    for table, stem in zip(tables, stems(tables), strict=True):
        parts = [""] if kind in OF_TABLES else list(table.runs)
        for part in parts:
            try:
                figure = _draw(kind, table, part, width, results)
            except BenchError as error:
                reasons.append(error)
            else:
                made.append(Named(_slug(stem, part), figure))
    if reasons and not made:
        raise reasons[0]
    return made


def _draw(kind: str, table: Table, row: str, width: float, results: Path | None) -> Figure:
    if kind != "curves" and all(unlabelled(run) for runs in table.runs.values() for run in runs):
        raise BenchError(
            f"{table.heading}: the target has no labels to score on; expected runs of a scenario "
            "whose target has some, or `bench plot curves`, which needs none."
        )
    if kind == "confusion":
        return confusion.draw(table, row, width)
    if kind == "curves":
        return curves.draw(table, row, results, width)
    return OF_TABLES[kind](table, width)


def stems(tables: Sequence[Table]) -> list[str]:
    """A short name for each table, none twice, fit for a file."""
    names: list[str] = []
    for table in tables:
        name = _slug(table.scenario.name, table.profile_name)
        count = sum(other == name or other.startswith(f"{name}-t") for other in names)
        names.append(f"{name}-t{count + 1}" if count else name)
    return names


def _slug(*parts: str) -> str:
    """Joined by hyphens, without what a file's name may not hold."""
    return "-".join(re.sub(r"[^\w.+-]+", "_", part).strip("_.") for part in parts if part)
