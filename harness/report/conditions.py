"""The data page's picture: generated streets in fog, by night, in rain and in snow.

`python -m harness.report.conditions OUT.png`
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.config import catalogue
from harness.data.classes import colourise
from harness.data.scenes import draw_scene
from harness.data.scenes.writer import train_ids_of
from harness.data.transforms import PixelArray
from harness.files import written_whole
from harness.report.figures import CELL, compose

#: Rendering, index, caption.
SHOWN = (
    ("acdc", 4, "acdc-like: fog"),
    ("acdc", 10, "acdc-like: rain"),
    ("acdc", 15, "acdc-like: snow"),
    ("darkzurich", 2, "darkzurich-like: night"),
)


def rows() -> list[list[tuple[str, PixelArray]]]:
    """A scene of each condition above its label, with captions."""
    palette = catalogue.class_set("cityscapes19").palette
    scenes = [draw_scene(name, "train", index, size=CELL) for name, index, _ in SHOWN]
    captions = [caption for *_, caption in SHOWN]
    return [
        [(text, scene.image) for text, scene in zip(captions, scenes, strict=True)],
        [("its label", colourise(train_ids_of(scene.label), palette)) for scene in scenes],
    ]


if __name__ == "__main__":
    with written_whole(Path(sys.argv[1])) as partial:
        compose(rows()).save(partial, format="PNG", optimize=True)
