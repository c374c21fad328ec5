"""What lines a street: houses, walls, fences, hedges and open ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.canvas import NOTHING, Array, Canvas
from harness.data.scenes.plants import hedge, tree
from harness.data.scenes.styles import Style, weighted
from harness.data.scenes.textures import Texture, facade, fence, wall

NEAREST = 1.2  # metres; what lies nearer along the street is out of view


@dataclass(frozen=True)
class Plot:
    """A stretch of frontage from z0 to z1 at x; ``side`` is -1 left, 1 right of the street."""

    kind: str
    x: float
    side: int
    z0: float
    z1: float
    height: float
    light: float = 1.0  # how much of the day's light falls on its front
    bare: bool = True  # its near end is in view, not hidden by a neighbour as tall


def plan(
    style: Style,
    rng: np.random.Generator,
    x: float,
    side: int,
    gap: tuple[float, float] | None,
    far: float,
) -> list[Plot]:
    """Divide one side into plots up to ``far``, leaving out the cross street's ``gap``."""
    plots = []
    z = 0.0
    while z < far:
        kind = weighted(rng, style.frontage)
        end = z + (rng.uniform(9, 20) if kind == "building" else rng.uniform(8, 16))
        if gap and z < gap[1] and end > gap[0]:
            end = gap[0]
        if end > z + 1.5:
            floors = rng.integers(style.storeys[0], style.storeys[1] + 1)
            plots.append(Plot(kind, x, side, z, end, 3.2 * float(floors) + rng.uniform(0.5, 2)))
        z = gap[1] if gap and end == gap[0] else end
    return [plots[0], *(replace(b, bare=not _hides(a, b)) for a, b in pairwise(plots))]


def _hides(near: Plot, far: Plot) -> bool:
    return near.kind == "building" and near.z1 == far.z0 and near.height >= far.height


def draw(canvas: Canvas, style: Style, rng: np.random.Generator, plot: Plot) -> None:
    """Draw one plot; those farther away must have been drawn before."""
    if plot.kind == "building":
        _house(canvas, style, rng, plot, plot.x)
        return
    if plot.kind == "open" or rng.random() < 0.5:
        _backdrop(canvas, style, rng, plot)
    else:
        _house(canvas, style, rng, plot, plot.x + plot.side * rng.uniform(5, 10))
    if plot.kind == "wall":
        height = rng.uniform(1.9, 3.1)
        _panel(canvas, plot, height, ids.WALL, wall, style, rng)
    elif plot.kind == "fence":
        height = rng.uniform(1.6, 2.7)
        _panel(canvas, plot, height, ids.FENCE, fence, style, rng)
    elif plot.kind == "hedge":
        hedge(canvas, style, rng, plot.x, (max(plot.z0, NEAREST + 3), plot.z1))


def _density(canvas: Canvas, depth: float) -> float:
    """Texture pixels a metre that match the canvas at a depth."""
    return min(max(canvas.camera.focal / max(depth, 6.0), 3.0), 16.0)


def _along(x: float, side: int, z0: float, z1: float, height: float) -> Array:
    """Corners of an upright plane along the street, so that textures are not mirrored."""
    start, end = (z0, z1) if side < 0 else (z1, z0)
    return np.array([[x, -0.1, start], [x, -0.1, end], [x, height, end], [x, height, start]], float)


def _house(canvas: Canvas, style: Style, rng: np.random.Generator, plot: Plot, x: float) -> None:
    """A box: its front along the street and the gable that faces the camera."""
    kind = style.facades[rng.integers(len(style.facades))]
    # What lies nearer, or higher, is outside every rendering's field of view.
    z0, z1 = max(plot.z0, NEAREST, 0.7 * abs(x)), plot.z1
    height = min(plot.height, 5 + 0.6 * z1)
    if z1 - z0 < 1:
        return
    if not canvas.camera.sees(_along(x, plot.side, max(z0, 2.0), z1, height)):
        return
    density = _density(canvas, z0 + 4)
    flank = _along(x, plot.side, z0, z1, height)
    view = canvas.camera.view_of(flank)
    front = facade(rng, style, kind, (z1 - z0, height), density, view, light=plot.light)
    depth = rng.uniform(8, 14)
    if plot.z0 == z0 and (plot.bare or x != plot.x):
        near, far = (x, x + plot.side * depth) if plot.side > 0 else (x - depth, x)
        corners = np.array(
            [[near, 0, z0], [far, 0, z0], [far, height, z0], [near, height, z0]], float
        )
        view = canvas.camera.view_of(corners)
        if kind == "gable":  # it takes its colour from the lower left corner, in view or not
            view = view._replace(left=0.0, bottom=1.0)
        end = facade(rng, style, kind, (depth, height), density, view, light=0.88)
        canvas.textured(corners, end, ids.BUILDING)
        if kind == "gable":
            peak = [[near, height, z0], [far, height, z0], [(near + far) / 2, height + 3, z0]]
            canvas.polygon(np.array(peak), end[-2, 0, :3] * 1.0, ids.BUILDING)
    canvas.textured(flank, front, ids.BUILDING)


def _panel(
    canvas: Canvas,
    plot: Plot,
    height: float,
    label: int,
    paint: Callable[[np.random.Generator, Style, tuple[float, float], float], Texture],
    style: Style,
    rng: np.random.Generator,
) -> None:
    """A wall or fence along the plot and across its near end."""
    # Short pieces keep the texture's density close to the canvas's; all start from one seed, so
    # that they look alike.
    seed = int(rng.integers(1 << 32))
    z1 = plot.z1
    while z1 > max(plot.z0, NEAREST) + 0.5:
        z0 = max(plot.z0, NEAREST, z1 - max(4.0, z1 * 0.35))
        corners = _along(plot.x, plot.side, z0, z1, height)
        # Three pieces in ten are out of view.
        if canvas.camera.view_of(corners) is not NOTHING:
            state = np.random.Generator(np.random.Philox(key=seed))
            picture = paint(state, style, (z1 - z0, height), _density(canvas, z0 + 2))
            canvas.textured(corners, picture, label, solid=label == ids.FENCE)
        z1 = z0


def _backdrop(canvas: Canvas, style: Style, rng: np.random.Generator, plot: Plot) -> None:
    """Trees on the ground behind the frontage line, far ones first."""
    count = max(1, int((plot.z1 - plot.z0) / 5))
    places = np.sort(rng.uniform(max(plot.z0, 6), max(plot.z1, 7), count))[::-1]
    for z in places:
        x = plot.x + plot.side * rng.uniform(1.5, 8)
        tree(canvas, style, rng, style.trees[rng.integers(len(style.trees))], x, float(z))
