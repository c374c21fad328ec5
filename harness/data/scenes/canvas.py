"""A pinhole camera over a ground plane, and a painter's canvas of colours and label ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import compress, pairwise
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Colour: TypeAlias = Sequence[float] | Array
Point: TypeAlias = tuple[float, float, float]
Points: TypeAlias = Sequence[Point] | Array  # (N, 3)
UP = np.array([0.0, 1.0, 0.0])
NEAR = 0.4  # metres; nothing nearer is drawn
_SHIFT = 3  # fractional bits of the polygon rasteriser


class View(NamedTuple):
    """A part of a quad: shares of its width from the left, of its height from the top."""

    left: float
    right: float
    top: float
    bottom: float


WHOLE, NOTHING = View(0.0, 1.0, 0.0, 1.0), View(0.0, 0.0, 0.0, 0.0)


def vector(x: float, y: float, z: float) -> Array:
    """A displacement in metres."""
    return np.array([x, y, z], float)


@cache
def circle() -> Array:
    """Twelve points (12, 2) of the unit circle."""
    turn = np.linspace(0, 2 * np.pi, 13)[:-1]
    return np.stack([np.cos(turn), np.sin(turn)], 1)


class Projection:
    """Projects world points (x right, y up, z along the street; metres) to pixels."""

    def __init__(
        self, size: tuple[int, int], focal: float, height: float, angles: Sequence[float]
    ) -> None:
        """``size`` (W, H) and ``focal`` in pixels; ``angles``: yaw, pitch down, roll in radians."""
        self.size, self.focal = size, focal
        self.position = np.array([0.0, height, 0.0])
        yaw, pitch, roll = angles
        forward = np.array(
            [np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)]
        )
        right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
        up = np.cross(forward, right)
        right, up = (
            np.cos(roll) * right + np.sin(roll) * up,
            np.cos(roll) * up - np.sin(roll) * right,
        )
        self.axes = np.stack([right, up, forward])
        lens = np.array([[focal, 0, size[0] / 2], [0, -focal, size[1] / 2], [0, 0, 1]])
        self._matrix = (lens @ self.axes).T
        self._offset = -self.position @ self._matrix
        self._plain = *self._matrix.tolist(), self._offset.tolist()

    def see(self, points: Array) -> Array:
        """World points (N, 3) -> (N, 3): pixel coordinates x and y times the depth, the depth."""
        return points @ self._matrix + self._offset

    def see_few(self, points: Points) -> list[Point]:
        """As ``see``, in plain floats: twice as fast for the few corners of a polygon."""
        (a, b, c), (d, e, f), (g, h, i), (j, k, m) = self._plain
        corners: Sequence[Point] = points.tolist() if isinstance(points, np.ndarray) else points
        return [
            (x * a + y * d + z * g + j, x * b + y * e + z * h + k, x * c + y * f + z * i + m)
            for x, y, z in corners
        ]

    def sees(self, points: Points) -> bool:
        """Whether the box around world points (N, 3) reaches into the picture."""
        seen = self.see_few(points)
        depths = [depth for _, _, depth in seen]
        if max(depths) < NEAR:
            return False
        if min(depths) < NEAR:
            return True
        xs, ys = [x / depth for x, _, depth in seen], [y / depth for _, y, depth in seen]
        width, height = self.size
        return max(xs) > 0 and max(ys) > 0 and min(xs) < width and min(ys) < height

    def view_of(self, corners: Array) -> View:
        """The part of a quad that may be in the picture; NOTHING if none is.

        Corners (4, 3) as Canvas.textured takes them, all before the camera.
        """
        low_left, _, top_right, top_left = self.see_few(corners)
        (width, height), pen = self.size, 2  # pixels that a stroke may be wide
        left, right, top, bottom = WHOLE
        # How far a point is inside an edge of the picture, times its depth, is linear in the
        # point's place on the quad; twice around, as each edge narrows what the others leave.
        for x, y, z in ((1, 0, pen), (-1, 0, width + pen), (0, 1, pen), (0, -1, height + pen)) * 2:
            inside, end, low = (
                x * p + y * q + z * depth for p, q, depth in (top_left, top_right, low_left)
            )
            across, down = end - inside, low - inside
            best = inside + max(down * top, down * bottom)
            if across > 0:
                left = max(left, -best / across)
            elif across < 0:
                right = min(right, -best / across)
            best = inside + max(across * left, across * right)
            if down > 0:
                top = max(top, -best / down)
            elif down < 0:
                bottom = min(bottom, -best / down)
            if left >= right or top >= bottom:
                return NOTHING
        return View(left, right, top, bottom)

    def horizon(self) -> tuple[int, int]:
        """Return the first row with ground in it, and the row from which on all is ground."""
        width, height = self.size
        # Each ray points lower than those above it, and a row's extremes are at its ends.
        down = self._rays(np.arange(height), np.array([0, width - 1]))[1] < -1e-4
        return height - int(down.any(1).sum()), height - int(down.all(1).sum())

    def ground(self, first: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return x and z (H - first, W) where each pixel's ray meets the ground, z inf above it.

        Rows before ``first`` are left out.
        """
        width, height = self.size
        rays = self._rays(np.arange(first, height), np.arange(width))
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(rays[1] < -1e-4, -self.position[1] / rays[1], np.inf)
            return (reach * rays[0]).astype(np.float32), (reach * rays[2]).astype(np.float32)

    def _rays(self, rows: Array, columns: Array) -> list[npt.NDArray[np.float32]]:
        """The x, y and z, each (rows, columns), of pixels' rays where they are one metre deep."""
        width, height = self.size
        u = ((columns.astype(np.float32) + 0.5) - width / 2) / self.focal
        v = (height / 2 - (rows.astype(np.float32) + 0.5)) / self.focal
        right, up, forward = self.axes.astype(np.float32)
        return [u[None] * right[i] + v[:, None] * up[i] + forward[i] for i in range(3)]


class Canvas:
    """Colours (H, W, 3) and label ids (H, W) that things are painted on, far ones first."""

    def __init__(self, camera: Projection, haze: Colour, visibility: float) -> None:
        """``haze`` is the colour far things fade to; ``visibility`` its 1/e length in metres."""
        width, height = camera.size
        self.camera = camera
        self.image = np.zeros((height, width, 3), np.uint8)
        self.label = np.zeros((height, width), np.uint8)
        self.haze, self.visibility = np.asarray(haze, float), visibility
        self._haze = self.haze.tolist()
        # Three values for each grey level, one after the other: numpy is slow on rows of three.
        self._greys = np.repeat(np.arange(256, dtype=np.float32), 3)
        self._grey_hazes = np.tile(self.haze, 256)

    def hazy(self, colour: Colour, depth: float) -> tuple[float, float, float]:
        """Fade a colour with distance."""
        keep = math.exp(-max(depth, 0.0) / self.visibility)
        far = 1 - keep
        # Plain floats: this runs for every polygon, and arrays of three are slow.
        red, green, blue = colour.tolist() if isinstance(colour, np.ndarray) else colour
        r, g, b = self._haze
        return (
            min(255.0, red * keep + r * far),
            min(255.0, green * keep + g * far),
            min(255.0, blue * keep + b * far),
        )

    def polygon(self, points: Points, colour: Colour | None, label: int | None) -> None:
        """Fill a world polygon (N, 3); a colour or label of None leaves that layer as it is."""
        seen = self.camera.see_few(points)
        depths = [depth for _, _, depth in seen]
        if min(depths) < NEAR:
            if max(depths) < NEAR:
                return
            seen = _clip_near(seen)
            depths = [depth for _, _, depth in seen]
        unit = 1 << _SHIFT
        outline = np.array(
            [(int(x / z * unit + 0.5), int(y / z * unit + 0.5)) for x, y, z in seen], np.int32
        )
        if colour is not None:
            shade = self.hazy(colour, sum(depths) / len(depths))
            cv2.fillPoly(self.image, [outline], shade, shift=_SHIFT)
        if label is not None:
            cv2.fillPoly(self.label, [outline], (label,), shift=_SHIFT)

    def beam(
        self, start: Array, end: Array, width: float, colour: Colour, label: int | None
    ) -> None:
        """Draw a rod between two world points."""
        self.rods(np.array([start, end]), width, colour, label)

    def rods(self, joints: Points, width: float, colour: Colour, label: int | None) -> None:
        """Draw rods from joint to joint (N, 3); at least 2 pixels of the stored image wide."""
        unit = 1 << _SHIFT
        for (x0, y0, z0), (x1, y1, z1) in pairwise(self.camera.see_few(joints)):
            if min(z0, z1) < NEAR:
                continue
            depth = (z0 + z1) / 2
            thick = max(4 if label is not None else 1, round(width * self.camera.focal / depth))
            start = round(x0 / z0 * unit), round(y0 / z0 * unit)
            end = round(x1 / z1 * unit), round(y1 / z1 * unit)
            cv2.line(self.image, start, end, self.hazy(colour, depth), thick, shift=_SHIFT)
            if label is not None:
                cv2.line(self.label, start, end, (label,), thick, shift=_SHIFT)

    def blobs(self, centres: Array, radii: Array, colours: Array, label: int) -> None:
        """Draw balls at (N, 3) with radii (N,) in metres and colours (N, 3), in the given order."""
        seen = self.camera.see(centres)
        depths = seen[:, 2]
        if depths.min() < 1.5:
            return
        keep = math.exp(-float(depths.mean()) / self.visibility)
        shades = np.minimum(colours * keep + self.haze * (1 - keep), 255).tolist()
        places = np.round(seen[:, :2] / depths[:, None]).astype(int)
        sizes = np.maximum(1, np.round(radii * self.camera.focal / depths)).astype(int)
        reach = sizes[:, None] + 1
        inside = ((places > -reach) & (places < np.add(self.camera.size, reach))).all(1)
        balls = zip(places.tolist(), sizes.tolist(), shades, strict=True)
        for centre, size, shade in compress(balls, inside.tolist()):
            cv2.circle(self.image, centre, size, shade, -1)
            cv2.circle(self.label, centre, size, (label,), -1)

    def outline(self, points: Array, label: int) -> None:
        """Label the convex outline of world points (N, 3), all before the camera; paint nothing."""
        seen = self.camera.see(points)
        if seen[:, 2].min() < NEAR:
            return
        places = np.round(seen[:, :2] / seen[:, 2:] * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.label, [cv2.convexHull(places)], (label,), shift=_SHIFT)

    def strokes(self, lines: Array, width: float, colour: Colour, label: int) -> None:
        """Draw many thin lines (N, 2, 3) of one colour, each at least one pixel wide."""
        seen = self.camera.see(lines.reshape(-1, 3))
        depth = float(seen[:, 2].mean())
        if seen[:, 2].min() < NEAR:
            return
        places = np.round(seen[:, :2] / seen[:, 2:] * (1 << _SHIFT)).astype(np.int32)
        thick = max(1, round(width * self.camera.focal / depth))
        pairs = [*places.reshape(-1, 2, 2)]
        cv2.polylines(self.image, pairs, False, self.hazy(colour, depth), thick, shift=_SHIFT)
        cv2.polylines(self.label, pairs, False, (label,), thick, shift=_SHIFT)

    def textured(
        self, corners: Array, texture: npt.NDArray[np.uint8], label: int, *, solid: bool = False
    ) -> None:
        """Map a texture (h, w, 4), RGB and opacity, on a quad: bottom left, right, top right, left.

        ``solid`` labels the whole quad, transparent parts too (a fence's gaps).
        """
        seen = self.camera.see_few(corners)
        depths = [depth for _, _, depth in seen]
        if min(depths) < NEAR:
            return
        quad = np.array([(x / z, y / z) for x, y, z in seen], np.float32)
        xs, ys = quad.T.tolist()
        width, height = self.camera.size
        x0, x1 = max(math.floor(min(xs)), 0), min(math.ceil(max(xs)) + 1, width)
        y0, y1 = max(math.floor(min(ys)), 0), min(math.ceil(max(ys)) + 1, height)
        box = (x1 - x0, y1 - y0)
        if min(box) < 1:
            return
        h, w = texture.shape[:2]
        source = np.array([[0, h], [w, h], [w, 0], [0, 0]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, quad - np.array([x0, y0], np.float32))
        drawn = cv2.warpPerspective(texture, matrix, box, flags=cv2.INTER_LINEAR)
        colours = cv2.LUT(cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB), self._fading(sum(depths) / 4))
        visible = cv2.extractChannel(drawn, 3) > 127
        cv2.copyTo(colours, visible.view(np.uint8), self.image[y0:y1, x0:x1])
        if solid:
            visible = cv2.warpPerspective(np.full((h, w), 255, np.uint8), matrix, box) > 127
        np.copyto(self.label[y0:y1, x0:x1], label, where=visible)

    def _fading(self, depth: float) -> npt.NDArray[np.uint8]:
        """What each grey level of each channel fades to: (1, 256, 3)."""
        keep = math.exp(-depth / self.visibility)
        faded = self._greys * np.float32(keep) + (self._grey_hazes * (1 - keep)).astype(np.float32)
        return faded.astype(np.uint8).reshape(1, 256, 3)


def _clip_near(seen: list[Point]) -> list[Point]:
    """Cut a polygon, as Projection.see_few gives it, at the near plane."""
    kept: list[Point] = []
    for a, b in pairwise([*seen, seen[0]]):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            share = (NEAR - a[2]) / (b[2] - a[2])
            kept.append((a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, NEAR))
    return kept
