"""Persons, bicycles, motorcycles, and riders on them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.canvas import Array, Canvas, Colour, Point, circle
from harness.data.scenes.styles import Style

SKIN = ((206, 164, 138), (150, 106, 80), (226, 186, 160))


class Upright:
    """A vertical plane through a foot point, turned ``angle`` from facing the street's start."""

    def __init__(self, canvas: Canvas, x: float, z: float, angle: float, scale: float = 1.0):
        self.canvas, self.scale = canvas, scale
        self.foot = np.array([x, 0.0, z])
        self._right = scale * math.cos(angle), scale * math.sin(angle)

    def at(self, points: Iterable[tuple[float, float]]) -> list[Point]:
        """Plane metres, across and up -> world."""
        (x, y, z), scale, (right, along) = self.foot.tolist(), self.scale, self._right
        return [(x + a * right, y + u * scale, z + a * along) for a, u in points]

    def shape(
        self, points: Iterable[tuple[float, float]], colour: Colour | None, label: int
    ) -> None:
        """Fill a polygon."""
        self.canvas.polygon(self.at(points), colour, label)

    def disc(
        self, centre: tuple[float, float], radius: float, colour: Colour | None, label: int
    ) -> None:
        """Fill a disc."""
        self.shape((circle() * radius + centre).tolist(), colour, label)

    def limb(
        self,
        points: Iterable[tuple[float, float]],
        width: float,
        colour: Colour,
        label: int | None,
    ) -> None:
        """Draw rods from point to point."""
        self.canvas.rods(self.at(points), width * self.scale, colour, label)


def _clothes(style: Style, rng: np.random.Generator) -> Array:
    return np.asarray(style.clothes[rng.integers(len(style.clothes))], float) * rng.uniform(
        0.85, 1.15
    )


def person(canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float) -> None:
    """Draw somebody who stands or walks."""
    plane = Upright(canvas, x, z, 0.0, rng.uniform(0.95, 1.12))
    coat, trousers = _clothes(style, rng), _clothes(style, rng) * 0.7
    skin = np.asarray(SKIN[rng.integers(len(SKIN))], float)
    stride, sway = rng.uniform(0.05, 0.3), (-1.0, 1.0)[rng.integers(2)]
    label = ids.PERSON
    plane.limb(
        [(-0.02, 0.85), (-stride * 0.7, 0.45), (-stride, 0.05)], 0.17, trousers * 0.85, label
    )
    plane.limb([(0.02, 0.85), (stride * 0.7, 0.45), (stride, 0.05)], 0.17, trousers, label)
    for side in (-1, 1):
        plane.limb(
            [(side * stride, 0.05), (side * stride + sway * 0.12, 0.05)], 0.1, (30, 28, 28), label
        )
    hem = 0.5 if rng.random() < 0.25 else 0.8  # a coat or a jacket
    plane.shape(
        [(-0.22, hem), (0.22, hem), (0.25, 1.42), (0.1, 1.52), (-0.1, 1.52), (-0.25, 1.42)],
        coat,
        label,
    )
    plane.limb([(-0.25, 1.38), (-0.31, 1.1), (-0.26 - stride * 0.4, 0.85)], 0.12, coat * 0.8, label)
    plane.limb([(0.25, 1.38), (0.31, 1.1), (0.26 + stride * 0.4, 0.85)], 0.12, coat * 0.9, label)
    plane.disc((0, 1.66), 0.14, skin, label)
    hair = np.array([60, 46, 38]) * rng.uniform(0.4, 1.8)
    plane.shape([(-0.14, 1.68), (0.14, 1.68), (0.09, 1.82), (-0.09, 1.82)], hair, label)
    if rng.random() < 0.3:
        bag = [(sway * 0.22, 0.95), (sway * 0.42, 0.95), (sway * 0.42, 1.3), (sway * 0.22, 1.3)]
        plane.shape(bag, _clothes(style, rng), label)


def bicycle(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, ridden: bool
) -> None:
    """Draw a bicycle, and its rider if ``ridden``."""
    plane = Upright(canvas, x, z, rng.uniform(-0.85, 0.85) + (np.pi if rng.random() < 0.5 else 0))
    paint = _clothes(style, rng)
    label = ids.BICYCLE
    turn = [2 * math.pi * i / 16 for i in range(17)]
    for hub in (-0.52, 0.52):
        # Annotators fill the wheel: the label is a disc, the picture a tyre with spokes.
        plane.disc((hub, 0.35), 0.36, None, label)
        rim = [(hub + 0.33 * math.cos(t), 0.35 + 0.33 * math.sin(t)) for t in turn]
        plane.limb(rim, 0.07, (28, 28, 30), label)
        for t in turn[:8:2]:
            x, y = 0.3 * math.cos(t), 0.3 * math.sin(t)
            plane.limb([(hub - x, 0.35 - y), (hub + x, 0.35 + y)], 0.015, (120, 120, 120), None)
    frame = [(-0.52, 0.35), (-0.05, 0.33), (0.4, 0.85), (-0.18, 0.85), (-0.52, 0.35)]
    plane.limb(frame, 0.07, paint, label)
    plane.limb([(-0.18, 0.95), (-0.05, 0.33)], 0.06, paint, label)
    plane.limb([(0.52, 0.35), (0.4, 0.85), (0.38, 1.05), (0.5, 1.08)], 0.06, paint * 0.8, label)
    plane.limb([(-0.3, 0.97), (-0.08, 0.97)], 0.09, (30, 28, 28), label)
    if ridden:
        _rider(plane, style, rng, seat=(-0.2, 0.95), hand=(0.42, 1.08), helmet=rng.random() < 0.4)


def motorcycle(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, ridden: bool
) -> None:
    """Draw a motorcycle: fat dark wheels, a solid engine, tank and seat; perhaps its rider."""
    plane = Upright(
        canvas, x, z, rng.uniform(-0.8, 0.8) + (np.pi if rng.random() < 0.5 else 0), 1.1
    )
    paint = np.asarray(
        ((160, 30, 28), (34, 34, 36), (40, 60, 120), (200, 200, 200))[rng.integers(4)], float
    )
    label = ids.MOTORCYCLE
    for hub in (-0.68, 0.72):
        plane.disc((hub, 0.32), 0.33, (22, 22, 24), label)
        plane.disc((hub, 0.32), 0.17, (130, 132, 134), label)
    plane.shape([(-0.45, 0.22), (0.4, 0.22), (0.45, 0.62), (-0.3, 0.68)], (58, 58, 62), label)
    plane.limb([(-0.2, 0.25), (-0.95, 0.36)], 0.11, (150, 150, 152), label)
    plane.shape(
        [(-0.95, 0.78), (-0.4, 0.62), (-0.1, 0.72), (-0.12, 0.86), (-0.9, 0.92)],
        (30, 28, 28),
        label,
    )
    plane.shape([(-0.15, 0.62), (0.42, 0.6), (0.5, 0.95), (0.1, 1.02), (-0.12, 0.86)], paint, label)
    plane.limb([(0.72, 0.32), (0.45, 1.05)], 0.1, (120, 122, 124), label)
    plane.shape([(0.4, 0.85), (0.62, 0.8), (0.66, 1.12), (0.46, 1.28)], paint * 0.85, label)
    plane.limb([(0.45, 1.08), (0.28, 1.14)], 0.07, (30, 30, 30), label)
    plane.shape([(0.5, 0.66), (0.9, 0.68), (0.86, 0.74), (0.52, 0.74)], paint, label)
    if ridden:
        _rider(plane, style, rng, seat=(-0.4, 0.85), hand=(0.3, 1.12), helmet=True)


def _rider(
    plane: Upright,
    style: Style,
    rng: np.random.Generator,
    seat: tuple[float, float],
    hand: tuple[float, float],
    helmet: bool,
) -> None:
    """Draw somebody who sits on a two-wheeler: bent legs, a leaning back, an arm to the bar."""
    coat, trousers = _clothes(style, rng), _clothes(style, rng) * 0.7
    x, y = seat
    pedal = y - rng.uniform(0.55, 0.72)
    label = ids.RIDER
    plane.limb([(x, y + 0.06), (x + 0.42, y - 0.08), (x + 0.2, pedal)], 0.18, trousers, label)
    plane.limb([(x + 0.2, pedal), (x + 0.34, pedal)], 0.11, (30, 28, 28), label)
    back = [
        (x - 0.16, y + 0.02),
        (x + 0.14, y),
        (x + 0.36, y + 0.55),
        (x + 0.26, y + 0.68),
        (x, y + 0.6),
    ]
    plane.shape(back, coat, label)
    plane.limb([(x + 0.24, y + 0.55), (x + 0.34, y + 0.3), hand], 0.12, coat * 0.85, label)
    head = (x + 0.3, y + 0.82)
    plane.disc(head, 0.14, SKIN[rng.integers(len(SKIN))], label)
    shell = _clothes(style, rng) * 1.2 if helmet else np.array([60, 46, 38]) * rng.uniform(0.5, 1.6)
    cap = [
        (head[0] + 0.16 * math.cos(t), head[1] + 0.03 + 0.15 * math.sin(t))
        for t in (math.pi * i / 7 for i in range(8))
    ]
    plane.shape(cap, shell, label)
