"""Lists of a split's images beside a folder that all splits share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench_cli import bench
from real_formats import save_png

from harness.config import catalogue
from harness.data.datasets import open_dataset
from harness.data.layouts import list_pairs
from harness.errors import DataError

TEXT = """
[[layouts]]
places = [{ images = "images" }]
lists = "{split}.txt"

[splits.train]

[splits.val]
"""


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Write images and lists -> the images of each split, as paths below theirs."""
    monkeypatch.chdir(tmp_path)

    def of(images: str, train: str, val: str) -> tuple[list[str], list[str]]:
        for image in images.split(", "):
            save_png(Path("images", image), np.zeros((8, 8, 3), np.uint8))
        Path("train.txt").write_text(train)
        Path("val.txt").write_text(val)
        Path("mine.toml").write_text(TEXT)
        described = catalogue.own_data_set(Path("mine.toml"))
        found = [
            [image.relative_to(tmp_path / "images").as_posix() for image, _ in pairs]
            for pairs in (list_pairs(described, tmp_path, part) for part in ("train", "val"))
        ]
        return found[0], found[1]

    return of


@pytest.mark.parametrize("above", ["", "images/", "/data/mine/images/", "C:\\mine\\images\\"])
def test_frames_of_a_number_are_told_apart_by_their_folders(split, above):
    train, val = f"{above}a/0.png\n{above}b/0", f"{above}d/0.png"
    assert split("a/0.png, b/0.png, d/0.png", train, val) == (["a/0.png", "b/0.png"], ["d/0.png"])


def test_a_frame_is_of_the_list_that_names_its_folder(split):
    assert split("d/0.png", "a/0.png", "d/0.png") == ([], ["d/0.png"])


def test_a_frame_whose_folder_no_list_names_is_of_none(split):
    assert split("a/0.png, d/0.png, e/0.png", "a/0.png", "d/0.png\nx/0.png") == (
        ["a/0.png"],
        ["d/0.png"],
    )


def test_a_bare_name_is_that_of_every_image_of_it(split):
    assert split("a/0.png, b/0.png, b/1.png", "0", "1") == (["a/0.png", "b/0.png"], ["b/1.png"])


def test_the_only_image_of_a_name_needs_no_folder(split):
    """As SegNet's lists of CamVid: its own folders, and the label behind the image."""
    line = "/SegNet/CamVid/{0}/{1}.png /SegNet/CamVid/{0}annot/{1}.png"
    assert split("a.png, b.png", line.format("train", "a"), line.format("val", "b")) == (
        ["a.png"],
        ["b.png"],
    )


def test_names_with_spaces_and_dots_are_whole(split):
    images = "im 1.png, im 2.png, im.png, f.01.png, f.02.png"
    assert split(images, "im 1.png\nf.01", "im 2\nf.02") == (
        ["f.01.png", "im 1.png"],
        ["f.02.png", "im 2.png"],
    )


def test_a_list_that_names_no_image_is_named(split, monkeypatch):
    split("a.png", "x.png\ny.png", "a.png")
    outcome = bench("data", "verify", "mine.toml")
    assert outcome.code == 2
    said = "no image of the train split (left out: 2 named in train.txt but not there (x, y))"
    assert said in outcome.out
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {})
    catalogue.use_data_sets({"mine": catalogue.own_data_set(Path("mine.toml"))})
    with pytest.raises(DataError, match=r"no image of the train split.*2 named in train.txt but"):
        open_dataset("mine", Path(), "train")
