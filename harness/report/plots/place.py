"""Names beside the points of a scatter plot, where they cover neither a point nor another name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

#: Points (1/72 inch) from a marker's middle to its name, and the directions that are tried in turn.
_DISTANCES = (5, 10, 16, 23, 31, 40)
_DIRECTIONS = (
    *((1, 0), (-1, 0), (0, 1), (0, -1)),
    *((0.8, 0.7), (0.8, -0.7), (-0.8, 0.7), (-0.8, -0.7)),
)
#: Half the side of the square that a marker takes.
_MARKER = 3.2
#: Lines that pass under a name do not cross it.
_BACKGROUND = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.4}


def name_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    spreads: Sequence[float] = (),
    others: Sequence[tuple[float, float]] = (),
) -> None:
    """Write each name near its point (in the data's units), with a thin line to one further off.

    spreads: half the length of each point's error bar; others: points without a name.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the axes have their place
    pixel = figure.dpi / 72
    middles = [axes.transData.transform(point) for point in points]
    half = _MARKER * pixel
    unnamed = [axes.transData.transform(point) for point in others]
    taken = [_box(x - half, y - half, x + half, y + half) for x, y in (*middles, *unnamed)]
    for (x, y), spread in zip(points, spreads, strict=False):
        (left, low), (_, high) = axes.transData.transform([(x, y - spread), (x, y + spread)])
        taken.append(_box(left - half / 2, low, left + half / 2, high))
    frame = axes.bbox.padded(-pixel)
    for point, middle, name in zip(points, middles, names, strict=True):
        text = axes.annotate(
            name, point, (0, 0), textcoords="offset points", fontsize=6, bbox=_BACKGROUND
        )
        size = text.get_window_extent()
        best = min(
            ((_cost(box := _beside(middle, size, d, way, pixel), taken, frame) + d / 100, d, way,
              box) for d in _DISTANCES for way in _DIRECTIONS),
            key=lambda candidate: candidate[0],
        )  # fmt: skip
        _, distance, way, box = best
        taken.append(box)
        left, bottom = (box.x0 - middle[0]) / pixel, (box.y0 - middle[1]) / pixel
        text.set_position((left, bottom))
        if distance > _DISTANCES[1]:
            reach = (distance - 1) * way[0], (distance - 1) * way[1]
            line = {"arrowstyle": "-", "lw": 0.4, "color": "#888888", "shrinkA": 0, "shrinkB": 2}
            axes.annotate("", point, reach, textcoords="offset points", arrowprops=line)
        text.set_in_layout(False)


def _beside(
    middle: npt.NDArray[np.float64],
    size: Bbox,
    distance: float,
    way: tuple[float, float],
    pixel: float,
) -> Bbox:
    """Where a text of that size lies, its nearest edge so far from the middle in that direction."""
    x, y = middle[0] + distance * way[0] * pixel, middle[1] + distance * way[1] * pixel
    left = x - size.width * (1 - _sign(way[0])) / 2
    bottom = y - size.height * (1 - _sign(way[1])) / 2
    return _box(left, bottom, left + size.width, bottom + size.height)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _cost(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """How much is covered: any overlap costs more than the longest way around it."""
    outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    return 10 * outside + sum(box.overlaps(other) for other in taken)


def _box(left: float, bottom: float, right: float, top: float) -> Bbox:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(left, bottom, right, top)
