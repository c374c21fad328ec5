"""A pinhole camera over a ground plane, and a painter's canvas of colours and label ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Colour: TypeAlias = Sequence[float] | Array
NEAR = 0.4  # metres; nothing nearer is drawn
_SHIFT = 3  # fractional bits of the polygon rasteriser


class Camera:
    """Projects world points (x right, y up, z along the street; metres) to pixels."""

    def __init__(
        self, size: tuple[int, int], focal: float, height: float, angles: Sequence[float]
    ) -> None:
        """``size`` is (W, H); ``focal`` is in pixels; ``angles`` are yaw, pitch down, roll (rad)."""
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

    def local(self, points: Array) -> Array:
        """World points (N, 3) -> camera coordinates (N, 3), the last one being the depth."""
        return (points - self.position) @ self.axes.T

    def pixels(self, local: Array) -> Array:
        """Camera coordinates (N, 3) with positive depth -> pixels (N, 2)."""
        scale = self.focal / local[:, 2:]
        centre = (self.size[0] / 2, self.size[1] / 2)
        return local[:, :2] * scale * (1, -1) + centre

    def sees(self, points: Array) -> bool:
        """Whether the box around world points (N, 3) reaches into the picture."""
        local = self.local(points)
        if local[:, 2].max() < NEAR:
            return False
        if local[:, 2].min() < NEAR:
            return True
        low, high = (getattr(self.pixels(local), edge)(0) for edge in ("min", "max"))
        return bool((high > 0).all() and (low < self.size).all())

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
        """``haze`` is the colour that distance fades to; ``visibility`` its 1/e length in metres."""
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
        red, green, blue = (
            min(255.0, float(c) * keep + h * far) for c, h in zip(colour, self._haze, strict=True)
        )
        return red, green, blue

    def polygon(self, points: Array, colour: Colour | None, label: int | None) -> None:
        """Fill a world polygon (N, 3); a colour or label of None leaves that layer as it is."""
        local = self.camera.local(points)
        depths = local[:, 2].tolist()
        if min(depths) < NEAR:
            local = _clip_near(local)
            if len(local) < 3:
                return
            depths = local[:, 2].tolist()
        outline = (self.camera.pixels(local) * (1 << _SHIFT) + 0.5).astype(np.int32)
        if colour is not None:
            shade = self.hazy(colour, sum(depths) / len(depths))
            cv2.fillPoly(self.image, [outline], shade, shift=_SHIFT)
        if label is not None:
            cv2.fillPoly(self.label, [outline], (label,), shift=_SHIFT)

    def beam(
        self, start: Array, end: Array, width: float, colour: Colour, label: int | None
    ) -> None:
        """Draw a rod between two world points; at least 2 pixels of the stored image wide."""
        local = self.camera.local(np.stack([start, end]))
        if local[:, 2].min() < NEAR:
            return
        depth = float(local[:, 2].mean())
        thick = max(4 if label is not None else 1, round(width * self.camera.focal / depth))
        ends = np.round(self.camera.pixels(local) * (1 << _SHIFT)).astype(int).tolist()
        cv2.line(self.image, ends[0], ends[1], self.hazy(colour, depth), thick, shift=_SHIFT)
        if label is not None:
            cv2.line(self.label, ends[0], ends[1], (label,), thick, shift=_SHIFT)

    def blobs(self, centres: Array, radii: Array, colours: Array, label: int) -> None:
        """Draw balls at (N, 3) with radii (N,) in metres and colours (N, 3), in the given order."""
        local = self.camera.local(centres)
        if local[:, 2].min() < 1.5:
            return
        depth = float(local[:, 2].mean())
        places = np.round(self.camera.pixels(local)).astype(int).tolist()
        sizes = np.maximum(1, np.round(radii * self.camera.focal / local[:, 2])).astype(int)
        for place, size, colour in zip(places, sizes.tolist(), colours, strict=True):
            cv2.circle(self.image, place, size, self.hazy(colour, depth), -1)
            cv2.circle(self.label, place, size, (label,), -1)

    def textured(
        self, corners: Array, texture: npt.NDArray[np.uint8], label: int, *, solid: bool = False
    ) -> None:
        """Map a texture (h, w, 4), RGB and opacity, on a quad: bottom left, right, top right, left.

        ``solid`` labels the whole quad, transparent parts too (a fence's gaps).
        """
        local = self.camera.local(corners)
        if local[:, 2].min() < NEAR:
            return
        quad = self.camera.pixels(local).astype(np.float32)
        width, height = self.camera.size
        low = np.maximum(np.floor(quad.min(0)), 0).astype(int)
        high = np.minimum(np.ceil(quad.max(0)) + 1, (width, height)).astype(int)
        if (high - low).min() < 1:
            return
        h, w = texture.shape[:2]
        source = np.array([[0, h], [w, h], [w, 0], [0, 0]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, quad - low.astype(np.float32))
        box = (int(high[0] - low[0]), int(high[1] - low[1]))
        drawn = cv2.warpPerspective(texture, matrix, box, flags=cv2.INTER_LINEAR)
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        keep = float(np.exp(-max(float(local[:, 2].mean()), 0) / self.visibility))
        colours = drawn[..., :3] * np.float32(keep) + (self.haze * (1 - keep)).astype(np.float32)
        visible = drawn[..., 3] > 127
        self.image[window][visible] = colours[visible].astype(np.uint8)
        if solid:
            everywhere = cv2.warpPerspective(np.full((h, w), 255, np.uint8), matrix, box)
            visible = everywhere > 127
        self.label[window][visible] = label


def _clip_near(local: Array) -> Array:
    """Cut a polygon in camera coordinates (N, 3) at the near plane."""
    kept = []
    for a, b in zip(local, np.roll(local, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept).reshape(-1, 3)
