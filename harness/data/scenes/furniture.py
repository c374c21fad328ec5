"""Poles, street lamps, traffic lights, traffic signs and bins."""

from __future__ import annotations

from functools import cache

import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.canvas import UP, Array, Canvas, vector
from harness.data.scenes.people import Upright
from harness.data.scenes.styles import Style

LAMPS = ((230, 40, 30), (240, 170, 30), (40, 210, 110))


def _post(
    canvas: Canvas, style: Style, rng: np.random.Generator, foot: Array, height: float, width: float
) -> Array:
    tone = np.array([112, 114, 112]) * rng.uniform(0.6, 1.25)
    if style.mast_arm and rng.random() < 0.3:
        tone = np.array([96, 74, 54])  # timber
    canvas.beam(foot, foot + UP * height, width, tone, ids.POLE)
    shade = vector(width * 0.3, 0, 0)
    canvas.beam(foot + shade, foot + UP * height + shade, width * 0.25, tone * 0.65, None)
    return tone


def street_lamp(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, inward: float
) -> None:
    """A tall pole with an arm over the road; ``inward`` is the road's direction, -1 or 1."""
    foot = np.array([x, 0.0, z])
    height = rng.uniform(5.5, 8)
    tone = _post(canvas, style, rng, foot, height, rng.uniform(0.18, 0.28))
    top = foot + UP * height
    reach = np.array([inward * rng.uniform(1.0, 2.2), 0.3, 0])
    canvas.beam(top, top + reach, 0.14, tone, ids.POLE)
    canvas.beam(top + reach * 0.75, top + reach * 1.25, 0.28, (215, 215, 205), ids.POLE)


def traffic_light(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, inward: float
) -> None:
    """A post with three lamps in a case; some hang from an arm over the road as well."""
    foot = np.array([x, 0.0, z])
    hang = style.mast_arm and rng.random() < 0.7
    height = rng.uniform(5.0, 5.6) if hang else rng.uniform(3.0, 3.5)
    tone = _post(canvas, style, rng, foot, height, 0.2)
    lit = int(rng.integers(3))
    _case(canvas, style, rng, foot + vector(0, min(height, 3.5) - 0.85, -0.15), lit)
    if hang:
        reach = inward * rng.uniform(3, 4.5)
        end = foot + vector(reach, height, 0)
        canvas.beam(foot + UP * height, end, 0.16, tone, ids.POLE)
        _case(canvas, style, rng, end + vector(0, -0.9, -0.15), lit)


def _case(canvas: Canvas, style: Style, rng: np.random.Generator, where: Array, lit: int) -> None:
    """The box with its lamps, centred on ``where``."""
    plane = Upright(canvas, where[0], where[2], rng.normal(0, 0.15), rng.uniform(1.1, 1.35))
    plane.foot = where
    label = ids.TRAFFIC_LIGHT
    if style.mast_arm or rng.random() < 0.3:
        plane.shape([(-0.3, -0.65), (0.3, -0.65), (0.3, 0.65), (-0.3, 0.65)], (20, 20, 20), label)
    plane.shape(
        [(-0.21, -0.58), (0.21, -0.58), (0.21, 0.58), (-0.21, 0.58)], style.lamp_case, label
    )
    for i, colour in enumerate(LAMPS):
        tone = np.asarray(colour) * (1.0 if i == lit else 0.22)
        plane.disc((0, 0.37 - 0.37 * i), 0.145, tone, label)


def traffic_sign(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float
) -> None:
    """A sign of one of the style's shapes, on a thin post; sometimes two, one over the other."""
    foot = np.array([x, 0.0, z])
    height = rng.uniform(2.4, 3.0)
    tone = np.array([130, 132, 130]) * rng.uniform(0.7, 1.1)
    canvas.beam(foot, foot + UP * height, 0.12, tone, ids.POLE)
    plane = Upright(canvas, x, z - 0.1, rng.normal(0, 0.3), rng.uniform(0.9, 1.25))
    for i in range(1 if rng.random() < 0.7 else 2):
        plane.foot = foot + vector(0, height - 0.1 - 0.95 * i, -0.1)
        _plate(plane, rng, style.signs[rng.integers(len(style.signs))])


@cache
def _ring(count: int, radius: float, turn: float = 0.0) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, count + 1)[:-1] + turn
    return [(float(radius * np.cos(t)), float(radius * np.sin(t))) for t in angles]


def _plate(plane: Upright, rng: np.random.Generator, kind: str) -> None:
    label = ids.TRAFFIC_SIGN
    red, white, blue, black = (196, 32, 36), (236, 236, 232), (30, 80, 165), (24, 24, 24)
    if kind == "octagon":
        plane.shape(_ring(8, 0.48, np.pi / 8), white, label)
        plane.shape(_ring(8, 0.43, np.pi / 8), red, label)
        plane.shape([(-0.3, -0.08), (0.3, -0.08), (0.3, 0.1), (-0.3, 0.1)], white, label)
    elif kind == "limit":
        plane.shape([(-0.36, -0.45), (0.36, -0.45), (0.36, 0.45), (-0.36, 0.45)], white, label)
        plane.shape([(-0.2, -0.3), (0.2, -0.3), (0.2, 0.05), (-0.2, 0.05)], black, label)
    elif kind == "diamond":
        plane.shape(_ring(4, 0.52), (226, 182, 36), label)
        plane.shape(_ring(4, 0.2), black, label)
    elif kind == "board":
        plane.shape([(-0.8, -0.35), (0.8, -0.35), (0.8, 0.35), (-0.8, 0.35)], (28, 110, 70), label)
        for y in (-0.12, 0.12):
            plane.shape(
                [(-0.6, y - 0.05), (0.5, y - 0.05), (0.5, y + 0.05), (-0.6, y + 0.05)], white, label
            )
    elif kind == "ring":
        plane.disc((0, 0), 0.45, red, label)
        plane.disc((0, 0), 0.32, white, label)
        if rng.random() < 0.5:
            plane.shape([(-0.16, -0.12), (0.16, -0.12), (0.16, 0.14), (-0.16, 0.14)], black, label)
    elif kind == "triangle":
        plane.shape(_ring(3, 0.56, np.pi / 2), red, label)
        plane.shape(_ring(3, 0.34, np.pi / 2), white, label)
    elif kind == "priority":
        plane.shape(_ring(4, 0.5), white, label)
        plane.shape(_ring(4, 0.36), (236, 186, 40), label)
    else:
        square = rng.random() < 0.5
        outline = [(-0.42, -0.42), (0.42, -0.42), (0.42, 0.42), (-0.42, 0.42)]
        plane.shape(outline if square else _ring(12, 0.44), blue, label)
        plane.shape(
            [
                (-0.08, -0.25),
                (0.08, -0.25),
                (0.08, 0.05),
                (0.22, 0.05),
                (0, 0.3),
                (-0.22, 0.05),
                (-0.08, 0.05),
            ],
            white,
            label,
        )


def bin_(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A litter bin, labelled static."""
    plane = Upright(canvas, x, z, 0.0)
    tone = np.array([70, 84, 66]) * rng.uniform(0.6, 1.4)
    plane.shape([(-0.25, 0), (0.25, 0), (0.3, 0.95), (-0.3, 0.95)], tone, ids.STATIC)
    plane.shape([(-0.32, 0.95), (0.32, 0.95), (0.28, 1.08), (-0.28, 1.08)], tone * 0.6, ids.STATIC)
