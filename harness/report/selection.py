"""Rules that choose a checkpoint, side by side, as text: `bench table --selection all`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from harness.analysis.provenance import mixture
from harness.analysis.selection import ENOUGH_POINTS, Quality, Selection, selections
from harness.errors import BenchError
from harness.evaluation.validators import RULES
from harness.records.schema import Record
from harness.report.cells import NONE, spread
from harness.report.columns import Grid
from harness.report.formats import finite, markdown, print_grid
from harness.text import plain_values

if TYPE_CHECKING:
    from rich.console import Console

NETWORKS = {"student": "student", "ema_teacher": "EMA teacher"}


def print_selections(records: Iterable[Record], console: Console) -> None:
    """Print the grids to a terminal."""
    for grid in _grids(selections(records)):
        print_grid(grid, console, "--format markdown")


def render_selections(records: Iterable[Record], format: str) -> str:
    """The same as Markdown or JSON; BenchError for another format."""
    if format not in ("markdown", "json"):
        raise BenchError(
            f"--format {format}: --selection all is shown as rich, markdown or json; expected one "
            "of these, or one rule (--selection oracle)."
        )
    selected = selections(records)
    if format == "markdown":
        return "\n".join(map(markdown, _grids(selected)))
    content = [
        {
            "heading": one.table.heading,
            "rows": [asdict(row) for row in one.rows],
            "validators": [asdict(quality) for quality in one.qualities],
        }
        for one in selected
    ]
    return json.dumps(plain_values(finite(content)), indent=1, ensure_ascii=False) + "\n"


def _grids(selected: Iterable[Selection]) -> list[Grid]:
    return [grid for one in selected for grid in (_rules(one), _validators(one.table.heading, one))]


def _rules(one: Selection) -> Grid:
    titles = {rule: f"{rule} (target labels)" if rule == "oracle" else rule for rule in RULES}
    return Grid(
        heading=f"mIoU % by the rule that chooses the checkpoint: {one.table.heading}",
        columns=["method", "network", *titles.values()],
        rows=[
            [row.label, NETWORKS[row.network], *(spread(row.miou.get(rule)) for rule in RULES)]
            for row in one.rows
        ],
        notes=[
            "Runs that were scored while they learned (score_every). All rules but oracle see no "
            "target label: last takes the last iteration; oracle takes the best mIoU of the very "
            "images that are scored, which nobody may do who wants a result.",
            "entropy, infomax, snd: docs/statistics.md. agreement: of student and EMA teacher.",
            *mixture(one.table.runs),
        ],
    )


def _validators(heading: str, one: Selection) -> Grid:
    return Grid(
        heading=f"Validators against mIoU: {heading}",
        columns=[
            "validator",
            "network",
            "Spearman, of a run's checkpoints",
            "Kendall",
            "Spearman, of all checkpoints",
            "Kendall of all",
            "points lost",
        ],
        rows=[_quality(quality) for quality in one.qualities],
        notes=[
            f"Correlation of ranks with the mIoU, 1: the same order; mean ± sd (runs), of runs "
            f"with {ENOUGH_POINTS} checkpoints and more. Of all: over methods, seeds and steps "
            "together. points lost: mIoU of the run's best checkpoint less that of the one chosen.",
        ],
    )


def _quality(quality: Quality) -> list[str]:
    def of_all(value: float) -> str:
        return f"{value:.2f} ({quality.checkpoints})" if math.isfinite(value) else NONE

    return [
        quality.validator,
        NETWORKS[quality.network],
        spread(quality.spearman, ".2f"),
        spread(quality.kendall, ".2f"),
        of_all(quality.spearman_of_all),
        of_all(quality.kendall_of_all),
        spread(quality.lost, ".1f"),
    ]
