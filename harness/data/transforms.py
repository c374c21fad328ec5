"""Resize, crop, flip and pad, on uint8 arrays: images (H, W, 3) RGB, labels (H, W) train ids."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from harness.data.classes import IGNORE

#: uint8, which OpenCV's stubs do not promise.
PixelArray = npt.NDArray[Any]

#: ImageNet's mean colour in whole grey levels: what pads an image, 0 after normalisation.
MEAN_GREY = (124, 116, 104)
#: Crops drawn again at most so often (DAFormer's cat_max_ratio and rare class sampling alike).
REDRAWS = 10


def fit_size(size: tuple[int, int], bound: tuple[int, int]) -> tuple[int, int]:
    """Scale (width, height) into a bound, aspect kept: GTA's 1914x1052 into 1280x720 is 1280x704.

    The longer side is held against the bound's longer one, as mmcv does. A side keeps one pixel.
    """
    scale = min(max(bound) / max(size), min(bound) / min(size))
    return max(int(size[0] * scale + 0.5), 1), max(int(size[1] * scale + 0.5), 1)


def resize_image(image: PixelArray, bound: tuple[int, int] | None) -> PixelArray:
    """Resize into `bound` = (width, height), bilinear without antialiasing, as the reference."""
    return _resize(image, bound, cv2.INTER_LINEAR)


def resize_label(label: PixelArray, bound: tuple[int, int] | None) -> PixelArray:
    """Resize into `bound` = (width, height), nearest neighbour."""
    return _resize(label, bound, cv2.INTER_NEAREST)


def _resize(pixels: PixelArray, bound: tuple[int, int] | None, interpolation: int) -> PixelArray:
    height, width = pixels.shape[:2]
    size = (width, height) if bound is None else fit_size((width, height), bound)
    if size == (width, height):
        return pixels
    return cv2.resize(pixels, size, interpolation=interpolation)


def crop(pixels: PixelArray, corner: tuple[int, int], size: tuple[int, int]) -> PixelArray:
    """Cut (height, width) at the corner (top, left); less where the image ends."""
    (top, left), (height, width) = corner, size
    return pixels[top : top + height, left : left + width]


def draw_corner(
    shape: tuple[int, ...], size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Draw the corner (top, left) of a crop of `size` = (height, width), the top first."""
    top = int(rng.integers(max(shape[0] - size[0], 0) + 1))
    left = int(rng.integers(max(shape[1] - size[1], 0) + 1))
    return top, left


def draw_balanced_corner(
    label: PixelArray, size: tuple[int, int], rng: np.random.Generator, max_class_ratio: float
) -> tuple[int, int]:
    """Draw a crop again, up to 10 times, while one class covers `max_class_ratio` or more of it.

    Ignored pixels do not count, and a crop of one class only is drawn again too. The last draw
    stands as it is.
    """
    corner = draw_corner(label.shape, size, rng)
    if max_class_ratio >= 1:
        return corner
    for _ in range(REDRAWS):
        counts = class_counts(crop(label, corner, size), IGNORE)[:IGNORE]
        if np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < max_class_ratio:
            break
        corner = draw_corner(label.shape, size, rng)
    return corner


def draw_rare_corner(
    label: PixelArray,
    size: tuple[int, int],
    rng: np.random.Generator,
    max_class_ratio: float,
    wanted: int,
    min_pixels: float,
) -> tuple[int, int]:
    """Draw balanced crops, up to 10 more, until one holds over `min_pixels` of class `wanted`."""
    corner = draw_balanced_corner(label, size, rng, max_class_ratio)
    for _ in range(REDRAWS):
        if np.count_nonzero(crop(label, corner, size) == wanted) > min_pixels:
            break
        corner = draw_balanced_corner(label, size, rng, max_class_ratio)
    return corner


def class_counts(label: PixelArray, classes: int) -> npt.NDArray[np.int64]:
    """Count the pixels of each train id (classes + 1,), the ignored ones last."""
    if label.dtype == np.uint8 and 0 < label.size < 2**24:  # float32 counts are exact below
        histogram = cv2.calcHist([label], [0], None, [IGNORE + 1], [0, IGNORE + 1])
        counts = histogram.ravel().astype(np.int64)
    else:
        counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
    return np.append(counts[:classes], counts[classes:].sum())


def flip(pixels: PixelArray) -> PixelArray:
    """Mirror left and right, into new memory."""
    return cv2.flip(pixels, 1)  # thirty times as fast as NumPy's copy of a reversed view


def pad_image(image: PixelArray, size: tuple[int, int]) -> PixelArray:
    """Pad below and to the right up to (height, width) with the mean grey."""
    return _pad(image, size, MEAN_GREY)


def pad_label(label: PixelArray, size: tuple[int, int]) -> PixelArray:
    """Pad below and to the right up to (height, width) with ignored pixels."""
    return _pad(label, size, (IGNORE,))


def _pad(pixels: PixelArray, size: tuple[int, int], value: tuple[int, ...]) -> PixelArray:
    below, right = size[0] - pixels.shape[0], size[1] - pixels.shape[1]
    if below <= 0 and right <= 0:
        return pixels
    return cv2.copyMakeBorder(
        pixels, 0, max(below, 0), 0, max(right, 0), cv2.BORDER_CONSTANT, value=value
    )
