"""One drawn street: image and label ids, a pure function of its name, split, index and seed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.data.scenes import adverse, layout, sensor
from harness.data.scenes.styles import STYLES, style_of
from harness.errors import BenchError

#: Raise whenever a drawing changes, so that caches and results of older pictures are not mixed.
GENERATOR_VERSION = 2

#: Stored width and height in pixels.
SIZES = {
    "gta5": (240, 136), "synthia": (240, 142), "cityscapes": (192, 96),
    "acdc": (192, 108), "darkzurich": (192, 108),
}  # fmt: skip


class Scene(NamedTuple):
    """``image`` (H, W, 3) RGB and ``label`` (H, W) of Cityscapes label ids, 0 unlabelled."""

    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]


def draw_scene(
    name: str, split: str, index: int, *, size: tuple[int, int] | None = None, seed: int = 0
) -> Scene:
    """Draw scene ``index`` of a split in the rendering ``name``; ``size`` is (W, H) in pixels."""
    if name not in SIZES:
        known = ", ".join(SIZES)
        raise BenchError(
            f"There is no rendering {name!r} of the generated streets; choose {known}."
        )
    width, height = size or SIZES[name]
    key = f"{GENERATOR_VERSION}/{name}/{split}/{index}/{seed}".encode()
    entropy = int.from_bytes(hashlib.sha256(key).digest()[:16], "little")
    rng = np.random.Generator(np.random.Philox(key=entropy))
    if name not in STYLES:
        return Scene(*adverse.draw(name, index, (width, height), rng))
    style = style_of(name, rng)
    canvas = layout.compose(style, (2 * width, 2 * height), rng, full=name != "synthia")
    sensor.add_hood(canvas, style, rng)
    return Scene(*sensor.expose(canvas, style, (width, height), rng))
