"""A confusion matrix: what the pixels of each class are taken for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.comparison import Table
from harness.config.catalogue import classes_of
from harness.errors import BenchError
from harness.evaluation.metrics import Matrix, merge
from harness.records.schema import unlabelled
from harness.report.plots.classes import without_frame, write_cells
from harness.report.plots.style import HEAT, heading, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.records.schema import Record


def draw(table: Table, name: str, width: float) -> Figure:
    """The row's matrix, its seeds added up: percent of a class's pixels, labels down.

    BenchError where its records hold none.
    """
    names, shares = shares_of(table.runs[name])
    figure = new_figure(width, width * 0.95)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=HEAT, vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5.5)
    axes.set_yticks(range(len(names)), names, fontsize=5.5)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    without_frame(axes)
    if width / (len(names) + 6) > 0.13:
        seen = [[v if v >= 0.5 else math.nan for v in row] for row in shares]
        write_cells(axes, seen, 4.8 if width < 5 else 6)
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("% of the label's pixels", fontsize=6)
    bar.ax.tick_params(labelsize=6)
    bar.outline.set_visible(False)
    heading(figure, f"{name}: {table.heading}")
    return figure


def shares_of(runs: Sequence[Record]) -> tuple[list[str], list[list[float]]]:
    """Class names, and percent by label and prediction over the runs; NaN without pixels.

    Classes that are in no label and in no prediction are left out.
    """
    if all(map(unlabelled, runs)):
        raise BenchError(f"run {runs[0].run_id}: its target has no labels to score on.")
    counts = [run.metrics.student.confusion for run in runs if run.metrics]
    sizes = {len(matrix) for matrix in counts} | {len(r) for matrix in counts for r in matrix}
    if len(sizes) != 1 or sizes == {0}:
        raise BenchError(
            f"run {runs[0].run_id}: its record holds no confusion matrix; `bench eval` on its "
            "weights makes one, or run it again."
        )
    if not all(0 <= count < 2**48 for matrix in counts for row in matrix for count in row):
        raise BenchError(
            f"run {runs[0].run_id}: its confusion matrix holds numbers that count no pixels; take "
            "the record as it was, or run it again."
        )
    names, matrix = _scored(np.sum(np.asarray(counts, np.int64), axis=0), runs[0])
    there = [i for i in range(len(matrix)) if matrix[i].sum() or matrix[:, i].sum()]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    return [names[i] for i in there], shares[np.ix_(there, there)].tolist()


def _scored(matrix: Matrix, run: Record) -> tuple[list[str], Matrix]:
    """The matrix over the classes of the run's convention, by their names."""
    classes = classes_of(run.spec.scenario)
    if run.metrics is None or len(matrix) != len(classes):
        return [str(index) for index in range(len(matrix))], matrix
    way = classes.ways_to_score[run.metrics.convention]
    if not way.groups:
        return list(classes.names), matrix
    return list(way.groups), merge(matrix, map(classes.ids_of, way.groups.values()))[:-1, :-1]
