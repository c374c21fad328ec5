"""The city's streets in fog, night, rain and snow: renderings like ACDC and Dark Zurich."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.data.scenes import layout, lights, sensor, weather
from harness.data.scenes.canvas import Array
from harness.data.scenes.depth import DepthCanvas
from harness.data.scenes.styles import CITYSCAPES, Style

#: Drawn without shadows and in clear air: light and air come after, with the depths known.
_CLEAR = replace(
    CITYSCAPES,
    focal=(0.72, 0.9), height=(1.25, 1.45), pitch=(0.0, 2.5), sun=(0.0, 0.0),
    visibility=(1e9, 1e9), hood="", vignette=0.1, jpeg=85,
)  # fmt: skip
#: ACDC's, in the order of its folders.
CONDITIONS = ("fog", "night", "rain", "snow")
#: How the camera answers each: in the dark it raises its gain, and with it the noise.
STYLES: dict[str, Style] = {
    "fog": replace(_CLEAR, blur=(0.4, 0.7), noise=(1.0, 2.5), contrast=(0.9, 1.0)),
    "night": replace(
        _CLEAR, blur=(0.4, 0.8), noise=(4.0, 8.0), contrast=(0.95, 1.1), saturation=1.0
    ),
    "rain": replace(_CLEAR, blur=(0.4, 0.8), noise=(1.5, 3.5), contrast=(0.85, 1.0)),
    "snow": replace(_CLEAR, blur=(0.4, 0.7), noise=(1.0, 3.0), gains=(0.98, 1.0, 1.03)),
}


def condition(name: str, index: int) -> str:
    """The condition of a scene: acdc has the four in turn, darkzurich the night alone."""
    return CONDITIONS[index % len(CONDITIONS)] if name == "acdc" else "night"


def draw(
    name: str, index: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draw a scene of ``size`` (W, H): its image (H, W, 3) and label ids (H, W)."""
    scene_condition = condition(name, index)
    style, (width, height) = STYLES[scene_condition], size
    canvas = layout.compose(style, (2 * width, 2 * height), rng, full=True, surface=DepthCanvas)
    assert isinstance(canvas, DepthCanvas)
    cover: Callable[[DepthCanvas, np.random.Generator], None] = {
        "fog": weather.fog, "night": _night, "rain": weather.rain, "snow": weather.snow,
    }[scene_condition]  # fmt: skip
    cover(canvas, rng)
    return sensor.expose(canvas, style, size, rng)


def _night(canvas: DepthCanvas, rng: np.random.Generator) -> None:
    lights.darken(canvas, rng, exposure=float(rng.uniform(1.2, 3.0)))
