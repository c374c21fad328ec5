"""A heat map of IoU, methods by classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.analysis.comparison import Table
from harness.errors import BenchError
from harness.report.plots.style import HEAT, heading, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(table: Table, width: float) -> Figure:
    """IoU in percent, mean over seeds; a class a line, a method a column. BenchError for no row."""
    names = list(dict.fromkeys(name for row in table.rows for name in row.iou))
    if not names:
        raise BenchError(f"{table.heading}: no record says an IoU by class.")
    values = [
        [math.nan if (v := row.iou.get(name)) is None else v for row in table.rows]
        for name in names
    ]
    labels = [short(name, 26) for name in table.runs]
    figure = new_figure(width, 0.9 + 0.145 * len(names) + 0.028 * max(map(len, labels)))
    axes = figure.subplots()
    image = axes.imshow(values, cmap=HEAT, vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
    axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=6)
    without_frame(axes)
    if width / (len(labels) + 4) > 0.17:  # inches of a cell, two digits of 5 points wide
        write_cells(axes, values, 5)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("IoU %, mean over seeds", fontsize=6)
    bar.ax.tick_params(labelsize=6)
    bar.outline.set_visible(False)
    heading(figure, table.heading)
    return figure


def without_frame(axes: Axes) -> None:
    """No lines around a matrix, whose cells say where it ends."""
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def write_cells(axes: Axes, values: list[list[float]], size: float) -> None:
    """Each percentage in its cell, white on dark and black on light; NaN is left out."""
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if math.isfinite(value):
                colour = "white" if value < 60 else "black"
                axes.text(x, y, f"{value:.0f}", ha="center", va="center", color=colour,
                          fontsize=size)  # fmt: skip
