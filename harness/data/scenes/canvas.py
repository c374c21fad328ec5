"""A pinhole camera over a ground plane, and a painter's canvas of colours and label ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Colour: TypeAlias = Sequence[float] | Array
UP = np.array([0.0, 1.0, 0.0])
NEAR = 0.4  # metres; nothing nearer is drawn
_SHIFT = 3  # fractional bits of the polygon rasteriser


def vector(x: float, y: float, z: float) -> Array:
    """A displacement in metres."""
    return np.array([x, y, z], float)


@cache
def circle() -> Array:
    """Twelve points (12, 2) of the unit circle."""
    turn = np.linspace(0, 2 * np.pi, 13)[:-1]
    return np.stack([np.cos(turn), np.sin(turn)], 1)


class Camera:
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

    def see(self, points: Array) -> Array:
        """World points (N, 3) -> (N, 3): pixel coordinates x and y times the depth, the depth."""
        return points @ self._matrix + self._offset

    def sees(self, points: Array) -> bool:
        """Whether the box around world points (N, 3) reaches into the picture."""
        seen = self.see(points)
        if seen[:, 2].max() < NEAR:
            return False
        if seen[:, 2].min() < NEAR:
            return True
        pixels = seen[:, :2] / seen[:, 2:]
        return bool((pixels.max(0) > 0).all() and (pixels.min(0) < self.size).all())

    def ground(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return x and z (H, W) where each pixel's ray meets the ground; z is inf above it."""
        width, height = self.size
        u = ((np.arange(width, dtype=np.float32) + 0.5) - width / 2) / self.focal
        v = (height / 2 - (np.arange(height, dtype=np.float32) + 0.5)) / self.focal
        right, up, forward = self.axes.astype(np.float32)
        rays = [u[None] * right[i] + v[:, None] * up[i] + forward[i] for i in range(3)]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(rays[1] < -1e-4, -self.position[1] / rays[1], np.inf)
            return (reach * rays[0]).astype(np.float32), (reach * rays[2]).astype(np.float32)


class Canvas:
    """Colours (H, W, 3) and label ids (H, W) that things are painted on, far ones first."""

    def __init__(self, camera: Camera, haze: Colour, visibility: float) -> None:
        """``haze`` is the colour far things fade to; ``visibility`` its 1/e length in metres."""
        width, height = camera.size
        self.camera = camera
        self.image = np.zeros((height, width, 3), np.uint8)
        self.label = np.zeros((height, width), np.uint8)
        self.haze, self.visibility = np.asarray(haze, float), visibility
        self._haze = self.haze.tolist()

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

    def polygon(self, points: Array, colour: Colour | None, label: int | None) -> None:
        """Fill a world polygon (N, 3); a colour or label of None leaves that layer as it is."""
        seen = self.camera.see(points)
        depths = seen[:, 2].tolist()
        if min(depths) < NEAR:
            if max(depths) < NEAR:
                return
            seen = _clip_near(seen)
            depths = seen[:, 2].tolist()
        outline = [(seen[:, :2] / seen[:, 2:] * (1 << _SHIFT) + 0.5).astype(np.int32)]
        if colour is not None:
            shade = self.hazy(colour, sum(depths) / len(depths))
            cv2.fillPoly(self.image, outline, shade, shift=_SHIFT)
        if label is not None:
            cv2.fillPoly(self.label, outline, (label,), shift=_SHIFT)

    def beam(
        self, start: Array, end: Array, width: float, colour: Colour, label: int | None
    ) -> None:
        """Draw a rod between two world points."""
        self.rods(np.array([start, end]), width, colour, label)

    def rods(self, joints: Array, width: float, colour: Colour, label: int | None) -> None:
        """Draw rods from joint to joint (N, 3); at least 2 pixels of the stored image wide."""
        unit = 1 << _SHIFT
        for (x0, y0, z0), (x1, y1, z1) in pairwise(self.camera.see(joints).tolist()):
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
        places = np.round(seen[:, :2] / depths[:, None]).astype(int).tolist()
        sizes = np.maximum(1, np.round(radii * self.camera.focal / depths)).astype(int).tolist()
        for place, size, shade in zip(places, sizes, shades, strict=True):
            cv2.circle(self.image, place, size, shade, -1)
            cv2.circle(self.label, place, size, (label,), -1)

    def textured(
        self, corners: Array, texture: npt.NDArray[np.uint8], label: int, *, solid: bool = False
    ) -> None:
        """Map a texture (h, w, 4), RGB and opacity, on a quad: bottom left, right, top right, left.

        ``solid`` labels the whole quad, transparent parts too (a fence's gaps).
        """
        seen = self.camera.see(corners)
        depths = seen[:, 2].tolist()
        if min(depths) < NEAR:
            return
        quad = (seen[:, :2] / seen[:, 2:]).astype(np.float32)
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
        levels = np.arange(256, dtype=np.float32)[None, :, None] * np.float32(keep)
        return (levels + (self.haze * (1 - keep)).astype(np.float32)).astype(np.uint8)


def _clip_near(seen: Array) -> Array:
    """Cut a polygon (N, 3), as Camera.see gives it, at the near plane."""
    kept: list[Array] = []
    for a, b in zip(seen, np.roll(seen, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept)
