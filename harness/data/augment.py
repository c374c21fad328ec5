"""Augmentation of source images: uint8 (H, W, 3) RGB in, the same out, every draw from `rng`.

`photometric` is what source-only and oracle runs have in the field: SSD's distortion, as
mmsegmentation's PhotoMetricDistortion. `strong` is ours: wider colours, then what cameras do.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from harness.data.transforms import PixelArray

_LEVELS = np.arange(256, dtype=np.float32)


def augment(image: PixelArray, kind: str, rng: np.random.Generator) -> PixelArray:
    """Apply an augmentation by the name it has in a profile: none, photometric or strong."""
    if kind == "photometric":
        return photometric(image, rng)
    return strong(image, rng) if kind == "strong" else image


def photometric(image: PixelArray, rng: np.random.Generator) -> PixelArray:
    """Distort brightness, contrast, saturation and hue, each with probability 0.5.

    Contrast comes before or after saturation and hue, an even chance each.
    """
    brightness = rng.uniform(-32, 32) if rng.random() < 0.5 else 0.0
    contrast = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    saturation = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    hue = int(rng.integers(-18, 19)) if rng.random() < 0.5 else 0
    contrast_first = rng.random() < 0.5
    levels = _clip(_LEVELS + brightness)
    if contrast_first:
        return _shift_colours(cv2.LUT(image, _clip(levels * contrast)), saturation, hue)
    image = _shift_colours(cv2.LUT(image, levels), saturation, hue)
    return cv2.LUT(image, _clip(_LEVELS * contrast))


def strong(image: PixelArray, rng: np.random.Generator) -> PixelArray:
    """Jitter colours, tint, blur, coarsen and add noise, each by chance."""
    if rng.random() < 0.8:
        image = _jitter(image, rng)
    if rng.random() < 0.2:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.5:
        image = _tint(image, rng)
    if rng.random() < 0.3:
        image = _coarsen(image, rng.uniform(0.5, 0.9))
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < 0.5:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(2, 12)
        image = _clip(image + noise)
    return image


def _jitter(image: PixelArray, rng: np.random.Generator) -> PixelArray:
    """Brightness +-48 levels, contrast about the mean 0.5..1.6, saturation 0.3..1.8, hue +-24."""
    brightness, contrast = rng.uniform(-48, 48), rng.uniform(0.5, 1.6)
    saturation, hue = rng.uniform(0.3, 1.8), int(rng.integers(-24, 25))
    mean = float(image.mean())
    image = cv2.LUT(image, _clip((_LEVELS - mean) * contrast + mean + brightness))
    return _shift_colours(image, saturation, hue)


def _tint(image: PixelArray, rng: np.random.Generator) -> PixelArray:
    """Change gain (0.75..1.25) and gamma (0.6..1.7, even in the logarithm) of each channel."""
    gain = rng.uniform(0.75, 1.25, 3)
    gamma = np.exp(rng.uniform(np.log(0.6), np.log(1.7), 3))
    curves = 255 * gain * (_LEVELS[:, None] / 255) ** gamma  # (256, 3)
    return cv2.LUT(image, _clip(curves)[:, None, :])


def _coarsen(image: PixelArray, scale: float) -> PixelArray:
    """Shrink and enlarge again: the detail of a poorer lens."""
    height, width = image.shape[:2]
    small = (max(int(width * scale), 1), max(int(height * scale), 1))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def _shift_colours(image: PixelArray, saturation: float, hue: int) -> PixelArray:
    """Multiply the saturation and turn the hue, in OpenCV's units of 2 degrees."""
    if saturation == 1 and hue == 0:
        return image
    levels = np.arange(256)
    curves = np.stack([(levels + hue) % 180, _clip(levels * saturation), levels], axis=-1)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), curves.astype(np.uint8)[:, None, :])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _clip(values: npt.NDArray[np.floating]) -> PixelArray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
