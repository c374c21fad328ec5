"""What `bench data new` writes of a user's files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.config import catalogue
from harness.config.data_set import DataSet
from harness.data.datasets import open_dataset
from harness.data.describe import describe
from harness.data.layouts import list_pairs
from harness.errors import DataError

IDS = np.repeat(np.arange(4), 8)[None].repeat(16, 0)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.mark.parametrize(
    ("label", "stored"),
    [
        (IDS.astype(np.uint8), "indexed"),
        (IDS.astype(np.uint16), "grey16"),
        (np.stack([IDS * 0, IDS * 0, IDS], -1).astype(np.uint16), "red16"),
        (np.stack([IDS * 10, IDS * 20, IDS * 30], -1).astype(np.uint8), "colours"),
    ],
)
def test_a_label_is_read_as_it_was_described(tmp_path, monkeypatch, label, stored):
    for i in range(5):
        write(tmp_path / f"photos/{i}.jpg", np.full((16, 32, 3), 40 * i, np.uint8))
        write(tmp_path / f"masks/{i}.png", label)
    describe("mine", tmp_path / "photos", tmp_path / "masks", tmp_path)
    described = catalogue.own_data_set(tmp_path / "mine.toml")
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {"mine": described})
    assert described.encodings[0].stored == stored
    dataset = open_dataset("mine", tmp_path, "train")
    assert len(dataset) == 4
    np.testing.assert_array_equal(dataset.read_label(0), IDS)


def test_labels_in_a_folder_within_that_of_the_images_are_no_images(tmp_path, monkeypatch):
    for i in range(5):
        write(tmp_path / f"photos/{i}.jpg", np.full((16, 32, 3), 40 * i, np.uint8))
        write(tmp_path / f"photos/masks/{i}.png", IDS.astype(np.uint8))
    describe("mine", tmp_path / "photos", tmp_path / "photos/masks", tmp_path)
    described = catalogue.own_data_set(tmp_path / "mine.toml")
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {"mine": described})
    samples = open_dataset("mine", tmp_path, "train").samples
    assert [sample.image.name for sample in samples] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert [sample.label.name for sample in samples] == ["1.png", "2.png", "3.png", "4.png"]


def described(folder: Path, *labels: np.ndarray) -> DataSet:
    """What is written of a set NAME/photos and NAME/masks with these labels."""
    for i, label in enumerate(labels):
        write(folder / f"photos/{i}.jpg", np.full((16, 32, 3), 40, np.uint8))
        write(folder / f"masks/{i}.png", label)
    describe(folder.name, folder / "photos", folder / "masks", folder)
    return catalogue.own_data_set(folder / f"{folder.name}.toml")


def test_a_colour_has_one_name_in_every_set(tmp_path):
    """Numbered by set, blue in one would be the same class as green in another."""
    red, green, blue = np.eye(3, dtype=np.uint8)[::-1, None, None] * np.full((8, 8, 1), 255, "u1")
    of_two = described(tmp_path / "two", red, blue).encodings[0].colours
    of_three = described(tmp_path / "three", red, green, blue).encodings[0].colours
    assert of_two == {"colour 0000ff": ((0, 0, 255),), "colour ff0000": ((255, 0, 0),)}
    assert of_three == of_two | {"colour 00ff00": ((0, 255, 0),)}


@pytest.mark.parametrize(
    ("values", "ids", "ignored"),
    [
        ([0, 255], {"0": "background", "255": "foreground"}, ()),
        ([0, 1], {"0": "background", "1": "foreground"}, ()),
        ([1, 2], {"1": "class 1", "2": "class 2"}, ()),
        ([1, 255], {"1": "class 1"}, (255,)),
        ([0, 1, 255], {"0": "class 0", "1": "class 1"}, (255,)),
    ],
)
def test_a_mask_of_0_and_1_or_255_is_background_and_foreground(tmp_path, values, ids, ignored):
    label = np.array(values, np.uint8).repeat(8)[None].repeat(8, 0)
    encoding = described(tmp_path / "mine", label).encodings[0]
    assert (encoding.ids, encoding.ignored) == (ids, ignored)


@pytest.mark.parametrize(
    ("folders", "left_out"),
    [
        (("train", "val", "test"), ""),
        (("Train", "Val", "Test"), ""),
        (("training", "validation", "testing"), ""),
        (("train", "valid", "test"), ""),
        (("train", "val", "test", "extra"), "; in no split and left out: extra"),
        (("train", "val", "test", "Validation"), "; in no split and left out: Validation"),
    ],
)
def test_folders_of_splits_are_known_in_other_spellings(tmp_path, folders, left_out):
    for i, folder in enumerate(folders):
        write(tmp_path / f"photos/{folder}/{i}.jpg", np.full((16, 32, 3), 40, np.uint8))
        write(tmp_path / f"masks/{folder}/{i}.png", IDS.astype(np.uint8))
    said = describe("mine", tmp_path / "photos", tmp_path / "masks", tmp_path)
    own = catalogue.own_data_set(tmp_path / "mine.toml")
    assert f"{{name}}.png{left_out};" in said
    assert said.endswith(f"; next: bench data verify {tmp_path}/mine.toml")
    for number, split in enumerate(("train", "val", "test")):
        ((image, label),) = list_pairs(own, tmp_path, split)
        assert (image.stem, label.is_file()) == (str(number), True)


@pytest.mark.parametrize("folder", ["\N{EAR OF RICE} fields", "im[ab]", 'a "b"', "what*"])
def test_a_folder_of_any_name_is_read_again(tmp_path, folder):
    photos, masks = tmp_path / folder / "photos", tmp_path / "masks"
    write(photos / "0.jpg", np.full((16, 32, 3), 40, np.uint8))
    write(masks / "0.png", IDS.astype(np.uint8))
    describe("mine", photos, masks, tmp_path)
    own = catalogue.own_data_set(tmp_path / "mine.toml")
    assert own.folder == str(tmp_path)
    assert list_pairs(own, tmp_path, "val") == [(photos / "0.jpg", masks / "0.png")]


def test_images_and_labels_in_one_folder_are_told_to_part(tmp_path):
    write(tmp_path / "one/0.jpg", np.full((16, 32, 3), 40, np.uint8))
    write(tmp_path / "one/0.png", IDS.astype(np.uint8))
    with pytest.raises(DataError, match="is the folder of the images; expected labels in one of"):
        describe("mine", tmp_path / "one", tmp_path / "one", tmp_path)
