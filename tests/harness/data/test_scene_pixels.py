"""The generated pictures stay what they were, and what is left undrawn would not be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.scenes import draw_scene
from harness.data.scenes.canvas import NOTHING, WHOLE, Projection

#: Scenes drawn by generator version 2; new ones belong here when GENERATOR_VERSION is raised.
STORED = Path(__file__).parents[2] / "data" / "scenes"
SIZE = (96, 54)
NAMES = ("gta5", "synthia", "cityscapes")


@pytest.mark.parametrize(("name", "index"), [("gta5", 3), ("synthia", 28), ("cityscapes", 1)])
def test_same_pixels_as_ever(name: str, index: int) -> None:
    scene = draw_scene(name, "train", index, size=SIZE)
    image = np.array(Image.open(STORED / f"{name}_{index}.png"))
    label = np.array(Image.open(STORED / f"{name}_{index}_label.png"))
    # Another version of numpy or OpenCV may round the last bit another way.
    assert (np.abs(scene.image.astype(int) - image).max(-1) <= 1).mean() > 0.999
    assert (scene.label == label).mean() > 0.999


@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_out_is_out_of_view(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [draw_scene(name, "train", index, size=SIZE) for index in range(4)]
    seen: list[bool] = []

    def view_of(camera: Projection, corners: object) -> object:
        seen.append(original(camera, corners) == WHOLE)
        return WHOLE

    original = Projection.view_of
    monkeypatch.setattr(Projection, "view_of", view_of)
    for index, scene in enumerate(scenes):
        whole = draw_scene(name, "train", index, size=SIZE)
        assert np.array_equal(scene.image, whole.image)
        assert np.array_equal(scene.label, whole.label)
    assert 0 < np.mean(seen) < 0.9  # something was left out


def wall_ahead(left: float, right: float, low: float = -1.0, high: float = 4.0) -> np.ndarray:
    """Corners of a wall across the street, ten metres away."""
    return np.array([[left, low, 10], [right, low, 10], [right, high, 10], [left, high, 10]])


def test_view_of_a_wall() -> None:
    camera = Projection((200, 100), 100.0, 1.5, (0.0, 0.0, 0.0))  # sees 10 m to either side, 5 m up
    assert camera.view_of(wall_ahead(-5, 5)) == WHOLE
    assert camera.view_of(wall_ahead(11, 14)) is NOTHING
    assert camera.view_of(wall_ahead(-5, 5, 8, 9)) is NOTHING
    left, right, top, bottom = camera.view_of(wall_ahead(0, 20, 1.5, 11.5))
    assert left == 0
    assert right == pytest.approx(0.5, abs=0.02)  # two pixels of pen
    assert top == pytest.approx(0.5, abs=0.03)
    assert bottom == 1


@pytest.mark.parametrize("angles", [(0.0, 0.1, 0.0), (0.3, 0.05, 0.04), (0.0, 0.0, -0.2)])
def test_ground_below_the_horizon(angles: tuple[float, float, float]) -> None:
    camera = Projection((64, 48), 50.0, 1.5, angles)
    x, z = camera.ground()
    hit = np.isfinite(z)
    first, last = camera.horizon()
    assert first == np.flatnonzero(hit.any(1))[0]
    assert last == np.flatnonzero(~hit.all(1))[-1] + 1
    for part, whole in zip(camera.ground(first), (x, z), strict=True):
        assert np.array_equal(part, whole[first:], equal_nan=True)
