"""Generated street scenes in three renderings, in the on-disk formats of the real data sets."""

from harness.data.scenes.scene import GENERATOR_VERSION, SIZES, Scene, draw_scene
from harness.data.scenes.writer import ensure_dataset, fingerprint, write_dataset

__all__ = [
    "GENERATOR_VERSION",
    "SIZES",
    "Scene",
    "draw_scene",
    "ensure_dataset",
    "fingerprint",
    "write_dataset",
]
