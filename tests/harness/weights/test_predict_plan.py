"""Which files `bench predict` reads and writes, before any weights are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BenchError
from harness.weights.predict import plan_predictions, with_truth


@pytest.fixture
def there(tmp_path, monkeypatch):
    """Make files, empty ones, below the current folder."""
    monkeypatch.chdir(tmp_path)

    def make(*files: str) -> None:
        for file in map(Path, files):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    return make


def truths(images: str) -> dict[str, Path | None]:
    tasks = with_truth(plan_predictions([Path(images)], Path("out"), "side"), Path("labels"))
    return {task.image.as_posix(): task.truth for task in tasks}


def test_frames_of_a_number_have_the_labels_of_their_own_sequences(there):
    there("in/a/1.jpg", "in/b/1.jpg", "in/c/1.jpg", "labels/a/1.png", "labels/b/1_labelIds.png")
    assert truths("in") == {
        "in/a/1.jpg": Path("labels/a/1.png"),
        "in/b/1.jpg": Path("labels/b/1_labelIds.png"),
        "in/c/1.jpg": None,
    }
    assert truths("in/a") == {"in/a/1.jpg": Path("labels/a/1.png")}


def test_a_flat_label_is_that_of_the_only_image_of_its_name(there):
    there("in/a/1.jpg", "in/b/1.jpg", "in/b/2.jpg", "labels/1.png", "labels/2.png")
    assert truths("in") == {
        "in/a/1.jpg": None,
        "in/b/1.jpg": None,
        "in/b/2.jpg": Path("labels/2.png"),
    }


def test_a_picture_called_legend_is_not_written_over(there):
    there("in/a.jpg", "in/below/legend.png")
    for images in ("in", "in/below/legend.png", "in/a.jpg"):
        with pytest.raises(BenchError, match="--out"):
            plan_predictions([Path(images)], Path("in/below"), "overlay")
    plan_predictions([Path("in")], Path("in/below"), "trainids")  # which has no legend
    there("out/below/a_palette.png", "out/legend.png")  # of an earlier call
    plan_predictions([Path("in")], Path("out"), "overlay")
