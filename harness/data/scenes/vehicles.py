"""Cars, trucks, buses and trains."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.body import GLASS, RUBBER, Body, Frame
from harness.data.scenes.canvas import Canvas
from harness.data.scenes.styles import Style

Outline: TypeAlias = "tuple[tuple[float, float], ...]"
#: Side outlines in metres from rear to front, (along, up), and which of their edges are glass.
PROFILES: dict[str, tuple[Outline, tuple[int, ...]]] = {
    "sedan": (
        ((0, 0.3), (0, 0.9), (0.85, 0.98), (1.5, 1.42), (2.7, 1.45),
         (3.45, 0.98), (4.6, 0.8), (4.65, 0.3)),
        (2, 4),
    ),
    "coupe": (
        ((0, 0.3), (0, 0.85), (0.5, 0.9), (1.4, 1.25), (2.2, 1.27),
         (2.9, 0.9), (4.5, 0.75), (4.55, 0.3)),
        (2, 4),
    ),
    "suv": (
        ((0, 0.4), (0, 1.1), (0.25, 1.75), (2.9, 1.8), (3.5, 1.15),
         (4.6, 1.05), (4.7, 0.4)),
        (1, 3),
    ),
    "pickup": (
        ((0, 0.45), (0, 1.15), (2.0, 1.15), (2.1, 1.85), (3.5, 1.85), (4.1, 1.25),
         (5.5, 1.15), (5.55, 0.45)),
        (2, 4),
    ),
    "compact": (
        ((0, 0.3), (0, 0.9), (0.45, 1.5), (2.2, 1.52), (2.9, 0.95),
         (3.5, 0.85), (3.55, 0.3)),
        (1, 3),
    ),
    "hatch": (
        ((0, 0.28), (0, 0.9), (0.55, 1.42), (2.5, 1.48), (3.3, 0.95),
         (4.1, 0.8), (4.15, 0.28)),
        (1, 3),
    ),
    "estate": (
        ((0, 0.28), (0, 0.92), (0.35, 1.45), (2.8, 1.48), (3.6, 0.95),
         (4.65, 0.8), (4.7, 0.28)),
        (1, 3),
    ),
    "van": (
        ((0, 0.3), (0, 1.05), (0.12, 1.95), (3.3, 1.95), (4.2, 1.2),
         (4.9, 1.0), (4.95, 0.3)),
        (1, 3),
    ),
}  # fmt: skip


def car(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, heading: float
) -> None:
    """Draw a car whose rear axle end stands at (x, z)."""
    outline, glass = PROFILES[style.cars[rng.integers(len(style.cars))]]
    length = outline[-1][0]
    top = max(u for _, u in outline)
    paint = np.asarray(style.paints[rng.integers(len(style.paints))], float) * rng.uniform(
        0.85, 1.1
    )
    frame = Frame(np.array([x, 0.0, z]), heading, 1.8)
    body = Body(canvas, frame, ids.CAR, length)
    body.flank([(0.25, 0.08), (length - 0.25, 0.08), (length - 0.2, 0.4), (0.2, 0.4)], (18, 18, 20))
    for along in (0.3, length - 0.3):
        body.face(along, (-0.95, 0.02, -0.7, 0.35), RUBBER)
        body.face(along, (0.7, 0.02, 0.95, 0.35), RUBBER)
    body.prism(list(outline), paint, glass, 0.2)
    if z > 35:
        return  # details are smaller than a pixel
    belt = 0.66 * top
    first, last = outline[glass[0]], outline[glass[1] + 1]
    roof0, roof1 = outline[glass[0] + 1], outline[glass[1]]
    low = belt + 0.03
    middle = (roof0[0] + roof1[0]) / 2

    def pane(points: list[tuple[float, float]]) -> None:
        side = body.side
        lift = [1 - 0.2 * max(0.0, (u - 0.68 * top) / (0.32 * top)) for _, u in points]
        where = [(a, u, side * k) for (a, u), k in zip(points, lift, strict=True)]
        canvas.polygon(frame.at(where), GLASS, ids.CAR)

    pane(
        [
            (first[0] + 0.25, low),
            (roof0[0] + 0.15, roof0[1] - 0.1),
            (middle - 0.05, top - 0.1),
            (middle - 0.05, low),
        ]
    )
    pane(
        [
            (middle + 0.05, low),
            (middle + 0.05, top - 0.1),
            (roof1[0] - 0.05, roof1[1] - 0.1),
            (last[0] - 0.25, low),
        ]
    )
    radius = 0.33 if top < 1.6 else 0.36
    body.wheel(0.85, radius)
    body.wheel(length - 0.85, radius)
    _lamps(body, length, outline[1][1] * 0.78, outline[-2][1] * 0.75)


def _lamps(body: Body, length: float, rear: float, front: float) -> None:
    """Rear or front lights, number plate, bumper and grille."""
    if body.end == "rear":
        for side in (-1, 1):
            body.face(0, (side * 0.95, rear - 0.1, side * 0.62, rear + 0.1), (190, 28, 24))
        body.face(0, (-0.28, rear - 0.12, 0.28, rear + 0.02), (214, 214, 205))
        body.face(0, (-0.97, 0.3, 0.97, 0.42), (44, 44, 46))
    elif body.end == "front":
        for side in (-1, 1):
            body.face(length, (side * 0.95, front - 0.1, side * 0.6, front + 0.08), (236, 234, 220))
        body.face(length, (-0.45, front - 0.14, 0.45, front + 0.05), (30, 30, 32))
        body.face(length, (-0.28, 0.34, 0.28, 0.46), (214, 214, 205))


def bus(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, heading: float
) -> None:
    """Draw a city bus: a long box with a band of large windows, doors and visible wheels."""
    length, top = rng.uniform(9, 12), 3.1
    paint = np.asarray(style.bus[rng.integers(len(style.bus))], float) * rng.uniform(0.9, 1.08)
    body = Body(canvas, Frame(np.array([x, 0.0, z]), heading, 2.55), ids.BUS, length)
    cabin = length - style.bonnet  # where the windscreen stands
    nose = [(cabin, 1.45), (length, 1.3)] if style.bonnet else []
    body.prism([(0, 0.3), (0, top), (cabin - 0.1, top), *nose, (length, 0.3)], paint, (), 0.03)
    step = cabin / 7
    for i in range(7):
        a = i * step + 0.12
        door = i in (3, 6)
        box = [
            (a, 0.4 if door else 1.35),
            (a, 2.65),
            (a + step - 0.22, 2.65),
            (a + step - 0.22, 0.4 if door else 1.35),
        ]
        body.flank(box, GLASS * (1.25 if door else 1.0))
    body.wheel(2.2, 0.5)
    body.wheel(length - 2.4, 0.5)
    if body.end == "rear":
        body.face(0, (-0.85, 1.7, 0.85, 2.7), GLASS)
        for side in (-1, 1):
            body.face(0, (side * 0.97, 0.8, side * 0.78, 1.4), (190, 28, 24))
        body.face(0, (-0.6, 0.55, 0.6, 1.2), paint * 0.6)
    elif body.end == "front":
        body.face(cabin, (-0.92, 1.5 if nose else 1.1, 0.92, 2.55), GLASS)
        body.face(cabin, (-0.6, 2.65, 0.6, 2.95), (235, 160, 40))
        for side in (-1, 1):
            body.face(length, (side * 0.92, 0.6, side * 0.6, 0.85), (236, 234, 220))


def truck(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, heading: float
) -> None:
    """Draw a lorry: a windowless load box on a dark chassis behind a separate cab."""
    load, top = rng.uniform(4.5, 7), rng.uniform(3.0, 3.5)
    length = load + 2.3 + style.bonnet
    paint = np.asarray(style.paints[rng.integers(len(style.paints))], float)
    box = np.array([205, 203, 196]) if rng.random() < 0.6 else paint * 0.5 + 70
    frame = Frame(np.array([x, 0.0, z]), heading, 2.5)
    body = Body(canvas, frame, ids.TRUCK, length)
    chassis = [(0.1, 0.45), (0.1, 0.95), (length - 0.3, 0.95), (length - 0.3, 0.45)]

    def cab() -> None:
        screen = length - style.bonnet  # the windscreen's foot
        cabin = [
            (load + 0.3, 0.45),
            (load + 0.3, 2.5),
            (screen - 0.35, 2.5),
            (screen, 1.5),
            *([(length, 1.35)] if style.bonnet else []),
            (length, 0.45),
        ]
        body.prism(cabin, paint, (2,), 0.06)
        body.flank(
            [(load + 0.8, 1.5), (load + 0.8, 2.25), (screen - 0.45, 2.25), (screen - 0.2, 1.5)],
            GLASS,
        )
        if body.end == "front":
            body.face(length, (-0.6, 0.8, 0.6, 1.3), (40, 40, 42))
            for side in (-1, 1):
                body.face(length, (side * 0.95, 0.6, side * 0.68, 0.85), (236, 234, 220))

    def cargo() -> None:
        body.prism([(0, 0.95), (0, top), (load, top), (load, 0.95)], box, (), 0.0)
        body.flank([(0, 0.95), (0, 1.1), (load, 1.1), (load, 0.95)], box * 0.6)
        if body.end == "rear":
            body.face(0, (-0.04, 1.0, 0.04, top - 0.1), box * 0.5)
            body.face(0, (-0.98, 0.9, 0.98, 1.05), box * 0.45)
            for side in (-1, 1):
                body.face(0, (side * 0.95, 0.55, side * 0.6, 0.78), (190, 28, 24))
                body.face(0, (side * 0.62, top * 0.55, side * 0.56, top * 0.62), box * 0.4)

    body.prism(chassis, np.array([40.0, 40, 42]), (), 0.0)
    for part in (cab, cargo) if body.end == "rear" else (cargo, cab):
        part()
    for along in (1.0, 2.1, length - 1.1):
        body.wheel(along, 0.48)


def train(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: float, heading: float
) -> None:
    """Draw a tram: very long, a skirt instead of wheels, a window band and a pantograph."""
    length, top = rng.uniform(18, 28), 3.4
    paint = np.asarray(style.train[rng.integers(len(style.train))], float) * rng.uniform(0.9, 1.08)
    frame = Frame(np.array([x, 0.0, z]), heading, 2.6)
    body = Body(canvas, frame, ids.TRAIN, length)
    outline = [
        (0.2, 0.12),
        (0, 1.2),
        (0.7, top),
        (length - 0.7, top),
        (length, 1.2),
        (length - 0.2, 0.12),
    ]
    body.prism(outline, paint, (1, 3), 0.05)
    body.flank([(0.2, 0.12), (0.05, 0.7), (length - 0.05, 0.7), (length - 0.2, 0.12)], (62, 62, 64))
    body.flank([(0.6, 1.35), (0.9, 2.7), (length - 0.9, 2.7), (length - 0.6, 1.35)], GLASS)
    for a in np.arange(2.2, length - 1, 2.4):
        body.flank([(a, 1.35), (a, 2.7), (a + 0.3, 2.7), (a + 0.3, 1.35)], paint * 0.9)
    for a in np.arange(5, length - 3, 7.0):
        body.flank([(a, 0.35), (a, 2.8), (a + 1.4, 2.8), (a + 1.4, 0.35)], paint * 0.55)
    near = 0.05 if body.end == "rear" else length - 0.05
    if body.end:
        lamp = (200, 40, 36) if body.end == "rear" else (240, 238, 225)
        for side in (-1, 1):
            body.face(near, (side * 0.8, 0.75, side * 0.5, 1.05), lamp)
        body.face(near, (-0.95, 0.15, 0.95, 0.55), (50, 50, 52))
    roof = frame.at([(length / 2 - 1, top, 0), (length / 2, top + 1.1, 0)])
    canvas.rods(roof, 0.1, (60, 60, 60), ids.TRAIN)
