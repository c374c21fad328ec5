"""Scatter plots of mIoU against what it costs, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from harness.analysis.comparison import Table
from harness.analysis.rows import ORACLE, Row
from harness.errors import BenchError
from harness.records.schema import hardware
from harness.report.plots.place import name_points
from harness.report.plots.style import FAINT, GREY, colours_of, heading, new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Axis(NamedTuple):
    """What the horizontal axis shows: the rows' field, its title, which end is good."""

    field: str
    title: str
    less_is_better: bool


#: Points above which they are numbered, with a key: names of more cover one another.
MOST_NAMES = 9
#: Inches of a letter in the key.
_LETTER = 0.053
COST = Axis("train_seconds", "training s, frozen teacher's included (log)", True)
SPEED = Axis("train_images_per_second", "training speed, source images/s (log)", False)
INFERENCE = Axis("inference_images_per_second", "inference speed, images/s (log)", False)


def draw(table: Table, axis: Axis, width: float) -> Figure:
    """mIoU over seeds against an axis, in percent; BenchError where no row has both."""
    points = {
        name: (x, row)
        for name, row in zip(table.runs, table.rows, strict=True)
        if (x := _value(row, axis)) and math.isfinite(row.miou.mean)
    }
    if not points:
        raise BenchError(f"{table.heading}: no record says its {axis.title.partition(',')[0]}.")
    numbered = len(points) > MOST_NAMES
    key_lines = -(-len(points) // 2) if numbered else 0
    figure = new_figure(width, width * 0.8 + 0.115 * key_lines)
    axes = figure.subplots()
    axes.set_xscale("log")
    for name, (colour, marker) in colours_of(list(points)).items():
        x, row = points[name]
        spread = row.miou.sd if math.isfinite(row.miou.sd) else None
        axes.errorbar(
            x, row.miou.mean, spread, color=colour, marker=marker, ms=4.5, lw=0.7, capsize=1.5
        )
    places = [(x, row.miou.mean) for x, row in points.values()]
    without_labels = [(x, r.miou.mean) for x, r in points.values() if r.method != ORACLE]
    if front := pareto_front(without_labels, axis.less_is_better):
        where: Literal["post", "pre"] = "post" if axis.less_is_better else "pre"
        name = f"Pareto front, {ORACLE} left out"
        axes.step(*zip(*front, strict=True), where=where, color=FAINT, zorder=0, label=name)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, labelcolor=GREY)
    axes.margins(0.12, 0.1)
    plain_ticks(axes, [x for x, _ in places])
    machines = sorted({hardware(run) for runs in table.runs.values() for run in runs})
    several = f"\nof {len(machines)} machines: {', '.join(machines)}" if len(machines) > 1 else ""
    axes.set_xlabel(axis.title + several)
    axes.set_ylabel(f"mIoU % ({table.scenario.convention}), ± sd")
    axes.grid(color="#eeeeee", lw=0.5)
    axes.set_axisbelow(True)
    heading(figure, table.heading)
    names = [short(name) for name in points]
    if numbered:
        _key(figure, list(points))
        names = [str(number) for number in range(1, len(names) + 1)]
    spreads = [row.miou.sd if math.isfinite(row.miou.sd) else 0.0 for _, row in points.values()]
    name_points(axes, places, names, spreads)
    return figure


def _key(figure: Figure, names: Sequence[str]) -> None:
    """What the numbers beside the points stand for, under the axes, in two columns."""
    from matplotlib.lines import Line2D

    looks = colours_of(names).values()
    most = int(figure.get_figwidth() / 2 / _LETTER) - 7
    handles = [
        Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            ms=3.5,
            ls="",
            label=f"{number} {short(name, most)}",
        )
        for number, (name, (colour, marker)) in enumerate(zip(names, looks, strict=True), 1)
    ]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=2, fontsize=6, handletextpad=0.2,
        columnspacing=1.0, labelspacing=0.3, borderpad=0.2,
    )  # fmt: skip


def _value(row: Row, axis: Axis) -> float | None:
    value: float | None = getattr(row, axis.field)
    return value if value is not None and math.isfinite(value) and value > 0 else None


def pareto_front(
    points: Sequence[tuple[float, float]], less_is_better: bool
) -> list[tuple[float, float]]:
    """The points that no other is as good as in both and better in one, from left to right."""
    sign = -1 if less_is_better else 1
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (-sign * point[0], -point[1])):
        if not front or y > front[-1][1]:  # the next as far from the good end, and higher
            front.append((x, y))
    return sorted(front)


def plain_ticks(axes: object, values: Sequence[float]) -> None:
    """Ticks of a logarithmic axis as numbers, a handful of round ones across the values."""
    from matplotlib.axes import Axes
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    assert isinstance(axes, Axes)
    low, high = min(values) / 1.15, max(values) * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), range(1, 10)):
        ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(ticks) >= 4:
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    left, right = axes.get_xlim()  # of a single point, or of equal ones, hardly wider than it is
    if sum(left <= tick <= right for tick in ticks) < 2:
        axes.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
