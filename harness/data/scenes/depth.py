"""A canvas that also remembers how far away the thing at each pixel is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import numpy.typing as npt

from harness.data.scenes import ids
from harness.data.scenes.canvas import NEAR, Array, Canvas, Colour, Points, Projection
from harness.data.scenes.textures import Floats

_FARTHEST = 300.0
_SPAN = math.log(_FARTHEST / NEAR)
#: Metres of level 1 to 255, in steps of 2.6 percent; level 0 is the ground, or the sky.
_METRES = (NEAR * (_FARTHEST / NEAR) ** (np.arange(-1, 255) / 254)).astype(np.float32)


class DepthCanvas(Canvas):
    """A canvas whose depths (H, W) are drawn beside its labels, by the same strokes."""

    def __init__(self, camera: Projection, haze: Colour, visibility: float) -> None:
        super().__init__(camera, haze, visibility)
        self._levels = np.zeros_like(self.label)
        self._discarded = np.zeros_like(self.image)

    def polygon(self, points: Points, colour: Colour | None, label: int | None) -> None:
        super().polygon(points, colour, label)
        # Of one layer only are shadows and lines on the road: they lie on what is there.
        if colour is not None and label is not None:
            labels, self.label = self.label, self._levels
            super().polygon(points, None, self._level(points))
            self.label = labels

    def rods(self, joints: Points, width: float, colour: Colour, label: int | None) -> None:
        super().rods(joints, width, colour, label)
        if label is not None:
            with self._as_levels():
                super().rods(joints, width, colour, self._level(joints))

    def blobs(self, centres: Array, radii: Array, colours: Array, label: int) -> None:
        super().blobs(centres, radii, colours, label)
        with self._as_levels():
            super().blobs(centres, radii, colours, self._level([centres.mean(0).tolist()]))

    def strokes(self, lines: Array, width: float, colour: Colour, label: int) -> None:
        super().strokes(lines, width, colour, label)
        with self._as_levels():
            super().strokes(lines, width, colour, self._level(lines.reshape(-1, 3)))

    def textured(
        self, corners: Array, texture: npt.NDArray[np.uint8], label: int, *, solid: bool = False
    ) -> None:
        super().textured(corners, texture, label, solid=solid)
        seen = self.camera.see(corners)
        if seen[:, 2].min() < NEAR:
            return
        quad = (seen[:, :2] / seen[:, 2:]).astype(np.float32)
        low = np.maximum(np.floor(quad.min(0)), 0).astype(int)
        high = np.minimum(np.ceil(quad.max(0)) + 1, self.camera.size).astype(int)
        if (high <= low).any():
            return
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(inside, np.round(quad - low).astype(np.int32), 1)
        # On a plane, one over depth is linear in the pixel's place.
        places = np.column_stack([quad, np.ones(4)])
        (a, b, c), *_ = np.linalg.lstsq(places, 1 / seen[:, 2], rcond=None)
        y, x = np.ogrid[y0:y1, x0:x1]
        near, far = seen[:, 2].min(), min(seen[:, 2].max(), _FARTHEST)
        inverse = (np.float32(a) * x + (b * y + c)).astype(np.float32)
        levels = _levels_of(1 / np.clip(inverse, 1 / far, 1 / near))
        cv2.copyTo(levels, inside, self._levels[y0:y1, x0:x1])

    def rays(self) -> Floats:
        """The direction (H, W, 3) in the world of each pixel's ray, one metre deep."""
        width, height = self.camera.size
        u = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.camera.focal
        v = (height / 2 - np.arange(height, dtype=np.float32) - 0.5) / self.camera.focal
        right, up, forward = self.camera.axes.astype(np.float32)
        return u[None, :, None] * right + v[:, None, None] * up + forward

    def depth(self) -> Floats:
        """Metres (H, W) along the view; infinite in the sky."""
        down = self.rays()[..., 1]
        # Between the branches of a bare tree, whose crown is labelled whole, one sees the sky.
        through = (self.label == ids.VEGETATION) & (self._levels == 0) & (down > -1e-4)
        ground = self.camera.position[1] / np.maximum(-down, 1e-4)
        depth = np.where(self._levels > 0, _METRES[self._levels], ground)
        depth[(self.label == ids.SKY) | through] = np.inf
        return depth.astype(np.float32)

    @contextmanager
    def _as_levels(self) -> Iterator[None]:
        """Let what is drawn go to the levels in place of the labels, and its colours nowhere."""
        image, label = self.image, self.label
        self.image, self.label = self._discarded, self._levels
        try:
            yield
        finally:
            self.image, self.label = image, label

    def _level(self, points: Points) -> int:
        """The level of a small thing (N, 3): of its middle."""
        depths = [depth for _, _, depth in self.camera.see_few(points)]
        depth = min(max(sum(depths) / len(depths), NEAR), _FARTHEST)
        return int(1.5 + 254 * math.log(depth / NEAR) / _SPAN)


def _levels_of(depth: Floats) -> npt.NDArray[np.uint8]:
    return (1.5 + 254 / _SPAN * np.log(depth / NEAR)).astype(np.uint8)
