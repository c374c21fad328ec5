"""A vehicle's body: a side profile swept across its width, with details on its faces."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.data.scenes.canvas import Array, Canvas, Colour, Point, circle

GLASS = np.array([34.0, 40.0, 48.0])
RUBBER = (24, 24, 26)


@dataclass(frozen=True)
class Frame:
    """A vehicle's own axes: ``along`` from rear to front, ``across`` to its right, and up."""

    origin: Array
    heading: float  # radians from the street's direction
    width: float

    def at(self, points: Iterable[Point]) -> list[Point]:
        """Own (along, up, across) -> world; across counts half widths, the others metres."""
        (x, y, z), sine, cosine, half = self._plain
        return [
            (x + a * sine + c * half * cosine, y + u, z + a * cosine - c * half * sine)
            for a, u, c in points
        ]

    @cached_property
    def _plain(self) -> tuple[Point, float, float, float]:
        """What ``at`` needs, in plain floats: arrays of four points are several times slower."""
        x, y, z = self.origin.tolist()
        return (x, y, z), math.sin(self.heading), math.cos(self.heading), self.width / 2

    def side_seen(self, eye: Array) -> float:
        """Which long side faces the eye: -1 left, +1 right."""
        right = np.array([np.cos(self.heading), 0.0, -np.sin(self.heading)])
        return 1.0 if float((eye - self.origin) @ right) > 0 else -1.0

    def end_seen(self, eye: Array, length: float) -> str:
        """Which end faces the eye: "rear", "front", or neither ("")."""
        forward = np.array([np.sin(self.heading), 0.0, np.cos(self.heading)])
        along = float((eye - self.origin) @ forward)
        return "rear" if along < 0 else "front" if along > length else ""


class Body:
    """Paints one vehicle's faces and details."""

    def __init__(self, canvas: Canvas, frame: Frame, label: int, length: float) -> None:
        self.canvas, self.frame, self.label = canvas, frame, label
        eye = canvas.camera.position
        self.side, self.end = frame.side_seen(eye), frame.end_seen(eye, length)

    def flank(self, outline: list[tuple[float, float]], colour: Colour) -> None:
        """A polygon of (along, up) on the visible side."""
        points = self.frame.at([(a, u, self.side) for a, u in outline])
        self.canvas.polygon(points, colour, self.label)

    def face(self, along: float, box: tuple[float, float, float, float], colour: Colour) -> None:
        """A rectangle (across0, up0, across1, up1) square to the heading."""
        x0, y0, x1, y1 = box
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        points = self.frame.at([(along, u, c) for c, u in corners])
        self.canvas.polygon(points, colour, self.label)

    def wheel(self, along: float, radius: float) -> None:
        """A tyre and its rim on the visible side."""
        for size, colour in ((radius, RUBBER), (radius * 0.55, (128, 130, 132))):
            self.flank(
                [(along + size * x, radius + size * y) for x, y in circle().tolist()], colour
            )

    def prism(
        self, outline: list[tuple[float, float]], paint: Array, glass: tuple[int, ...], taper: float
    ) -> None:
        """Sweep a clockwise (along, up) outline across; ``taper`` narrows it above the belt."""
        top = max(u for _, u in outline)
        belt = 0.68 * top

        def half(up: float) -> float:
            return 1 - taper * max(0.0, (up - belt) / (top - belt))

        eye = self.canvas.camera.position
        heading = self.frame.heading
        eye_along = float((eye - self.frame.origin) @ (np.sin(heading), 0.0, np.cos(heading)))
        for i in range(len(outline) - 1):
            (a0, u0), (a1, u1) = outline[i], outline[i + 1]
            low, high = half(u0), half(u1)
            quad = self.frame.at([(a0, u0, -low), (a0, u0, low), (a1, u1, high), (a1, u1, -high)])
            # Only faces turned to the eye: compare in the profile's plane.
            outward = (eye_along - a0) * (u0 - u1) + (eye[1] - u0) * (a1 - a0)
            if outward <= 0:
                continue
            light = 0.82 + 0.3 * abs(a1 - a0) / (abs(a1 - a0) + abs(u1 - u0) + 1e-6)
            self.canvas.polygon(quad, paint * light, self.label)
            if i in glass:
                x, y, z = (sum(values) / 4 for values in zip(*quad, strict=True))
                inner = [
                    (x + (a - x) * 0.86, y + (b - y) * 0.84, z + (c - z) * 0.86) for a, b, c in quad
                ]
                self.canvas.polygon(inner, GLASS * 1.25, self.label)
        side = self.frame.at([(a, u, self.side * half(u)) for a, u in outline])
        self.canvas.polygon(side, paint * 0.92, self.label)
