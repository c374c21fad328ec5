"""Tiles of an image, for encoders that are bound to one size."""

from __future__ import annotations

from torch import Tensor


def tiles(image: Tensor, side: int) -> Tensor:
    """image: (B, C, H, W), multiples of side -> (B * tiles, C, side, side), row by row."""
    grid = image.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def joined(x: Tensor, rows: int, columns: int) -> Tensor:
    """x: (B * rows * columns, C, h, w) -> (B, C, rows * h, columns * w), as `tiles` cut it."""
    grid = x.unflatten(0, (-1, rows, columns))
    return grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
