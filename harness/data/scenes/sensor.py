"""From the canvas to what a camera stores: hood, optics, colour and noise."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from harness.data.scenes import ids
from harness.data.scenes.canvas import Array, Canvas
from harness.data.scenes.styles import Style


def add_hood(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Cover the lower edge with the ego car, as the style's camera sees it."""
    if not style.hood:
        return
    height, width = canvas.label.shape
    x = np.linspace(-1, 1, 25)
    top = 0.915 + 0.03 * x**2 if style.hood == "flat" else 0.94 + 0.2 * x**4
    top = top + rng.normal(0, 0.004)
    curve = np.stack([(x + 1) / 2 * width, top * height], 1)
    outline = np.concatenate([curve, [[width, height + 2], [0, height + 2]]]).astype(np.int32)
    tone = (46, 48, 50) if style.hood == "flat" else tuple(0.6 * np.asarray(style.paints[0]) + 60)
    cv2.fillPoly(canvas.image, [outline], [float(c) for c in tone])
    shine = curve + np.array([0, 0.012 * height])
    cv2.polylines(canvas.image, [shine.astype(np.int32)], False, [float(c) * 1.7 for c in tone], 2)
    cv2.fillPoly(canvas.label, [outline], (ids.EGO_VEHICLE,))


def expose(
    canvas: Canvas, style: Style, size: tuple[int, int], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the image (H, W, 3) and label ids (H, W) at the stored ``size`` (W, H)."""
    width, height = size
    image: Array = cv2.resize(canvas.image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    label: Array = cv2.resize(canvas.label, size, interpolation=cv2.INTER_NEAREST)
    blur = rng.uniform(*style.blur)
    if blur > 0.1:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    if style.sharpen:
        image += style.sharpen * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
    contrast = rng.uniform(*style.contrast)
    gains = np.asarray(style.gains, np.float32) * (1 + rng.normal(0, 0.02, 3)).astype(np.float32)
    level = rng.uniform(*style.noise)
    noise = cv2.split(rng.standard_normal((height, width, 3), np.float32))
    amplitude = np.sqrt(np.clip(grey, 20, 255) / 110)
    # Plane by plane: numpy is several times slower along a last axis of three.
    planes = []
    for plane, gain, shot in zip(cv2.split(image), gains, noise, strict=True):
        plane = grey + style.saturation * (plane - grey)
        plane = ((plane - 110) * contrast + 110) * gain
        if style.vignette:
            plane *= _vignette(style.vignette, size)
        plane += level * (0.6 * shot + 0.8 * noise[0]) * amplitude
        planes.append(np.clip(plane, 0, 255).astype(np.uint8))
    return _recorded(cv2.merge(planes), style.jpeg), label


def _recorded(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """The image as it is read back from a JPEG of a quality; 0 keeps it."""
    if not quality:
        return image
    blue_first = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    assert decoded is not None
    read_back: Array = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return read_back


@cache
def _vignette(strength: float, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """How much light (H, W) reaches the sensor: less towards the corners."""
    width, height = size
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (1 - strength * (x**2 + y**2) / 2).astype(np.float32)
