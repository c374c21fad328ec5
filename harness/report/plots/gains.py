"""A forest plot: what each method gains over source-only, with its interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.analysis.comparison import Table
from harness.analysis.rows import BASELINE
from harness.errors import BenchError
from harness.report.plots.style import COLOURS, GREY, heading, new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(table: Table, width: float) -> Figure:
    """Points of mIoU over source-only and 95 % intervals, a line a method, the largest on top.

    Filled: beyond chance in the table (Holm); open: not told from chance, or too few seeds to test.
    BenchError where no row has a gain.
    """
    gains = [
        (name, row.gain)
        for name, row in zip(table.runs, table.rows, strict=True)
        if row.gain and math.isfinite(row.gain.mean)
    ]
    if not gains:
        raise BenchError(
            f"{table.heading}: no method beside {BASELINE} with the same student; run both with "
            "one student."
        )
    gains.sort(key=lambda pair: pair[1].mean)
    figure = new_figure(width, 0.75 + 0.17 * len(gains))
    axes = figure.subplots()
    axes.axvline(0, color=GREY, lw=0.7)
    for line, (_, gain) in enumerate(gains):
        sure = gain.significant
        if math.isfinite(gain.low):
            axes.plot([gain.low, gain.high], [line, line], color=COLOURS[0], lw=1)
        axes.plot(gain.mean, line, "o", ms=4, color=COLOURS[0], mfc=COLOURS[0] if sure else "white")
    axes.set_yticks(range(len(gains)), [f"{short(name, 32)} ({g.n})" for name, g in gains])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.7, len(gains) - 0.3)
    axes.grid(axis="x", color="#eeeeee", lw=0.5)
    axes.set_axisbelow(True)
    figure.supxlabel(
        f"gain over {BASELINE} in mIoU points, 95 % interval (seeds)\n"
        "filled: beyond chance (Holm); open: not told from it", fontsize=7
    )  # fmt: skip
    heading(figure, table.heading)
    return figure
