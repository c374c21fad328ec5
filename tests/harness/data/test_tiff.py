"""Whole TIFF tiles: images and labels are read as they are, and crops are cut from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bench_cli import bench
from PIL import Image

from harness.config import catalogue
from harness.data.datasets import open_dataset
from harness.data.loader import TrainLoader, grey_levels
from harness.data.verify import quick_check, verify
from harness.errors import DataError

SIDE = 96
COLOURS = np.array([(0, 0, 0), (255, 255, 255), (0, 0, 255), (255, 255, 0)], np.uint8)
TILES = """
folder = "."
[[layouts]]
places = [{ images = "2_Ortho_RGB", labels = ["5_Labels"] }]
image = "top_potsdam_{name}_RGB"
label = ["top_potsdam_{name}_label.tif"]
suffixes = [".tif"]
[splits.val]
ranges = [["top_potsdam_3", "top_potsdam_3"]]
[splits.train]
[[encodings]]
"""
IN_COLOURS = """stored = "colours"
ignored_colours = [[0, 0, 0]]
[encodings.colours]
surface = [[255, 255, 255]]
building = [[0, 0, 255]]
car = [[255, 255, 0]]
"""
IN_IDS = 'ignored = [0]\n[encodings.ids]\n1 = "surface"\n2 = "building"\n3 = "car"\n'


def ids_of(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    ids = rng.integers(0, 4, (8, 8)).astype(np.uint8)
    ids.flat[:4] = range(4)
    return ids.repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)


def save(path: Path, pixels: np.ndarray, compression: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compression=compression)


@pytest.fixture(params=["colours", "ids", "lzw"])
def tiles(request, tmp_path, monkeypatch) -> Path:
    """Three tiles as ISPRS names them; red is column, green row of each pixel."""
    for number, name in enumerate(("2_10", "2_11", "3_10")):
        rows, columns = np.indices((SIDE, SIDE), np.uint8)
        image = np.stack([columns, rows, np.full_like(rows, number)], -1)
        label = ids_of(number) if request.param == "ids" else COLOURS[ids_of(number)]
        compression = "tiff_lzw" if request.param == "lzw" else None
        save(tmp_path / f"2_Ortho_RGB/top_potsdam_{name}_RGB.tif", image, compression)
        save(tmp_path / f"5_Labels/top_potsdam_{name}_label.tif", label, compression)
    own = tmp_path / "tiles.toml"
    own.write_text(TILES + (IN_IDS if request.param == "ids" else IN_COLOURS))
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {"tiles": catalogue.own_data_set(own)})
    return tmp_path


def test_images_and_labels_are_read_as_they_are(tiles):
    for split, numbers in {"train": [0, 1], "val": [2]}.items():
        dataset = open_dataset("tiles", tiles, split)
        for index, number in enumerate(numbers):
            ids = ids_of(number)
            np.testing.assert_array_equal(
                dataset.read_label(index), np.where(ids == 0, 255, ids - 1)
            )
            image = dataset.read_image(index)
            assert image[5, 7].tolist() == [7, 5, number]
        quick_check(dataset)
    assert not verify("tiles", tiles)


def test_crops_of_a_tile_are_its_own_pixels(tiles):
    dataset = open_dataset("tiles", tiles, "train")
    profile = catalogue.profile("tiny").model_copy(
        update={
            "image_size": {"tiles": (SIDE, SIDE)}, "crop": (32, 32), "workers": 0, "flip": 0.0,
            "batch_size": 2, "rare_class_sampling": False, "source_augmentation": "none",
        }
    )  # fmt: skip
    corners = set()
    for batch in TrainLoader(dataset, dataset, profile, 0, steps=4):
        levels = grey_levels(batch.source_image).numpy()
        for image, label in zip(levels, batch.source_label.numpy(), strict=True):
            left, top, number = image[:, 0, 0]
            corners.add((left, top, number))
            assert (image[0] == left + np.arange(32)).all()  # no column is left out or drawn twice
            assert (image[1] == top + np.arange(32)[:, None]).all()
            cut = ids_of(number)[top : top + 32, left : left + 32]
            np.testing.assert_array_equal(label, np.where(cut == 0, 255, cut - 1))
    assert len(corners) > 4


def test_an_image_of_16_bits_a_channel_is_refused(tiles):
    """As 8 bits it would be nearly black: sensors of 11 and 12 bits fill the lower ones."""
    image = tiles / "2_Ortho_RGB/top_potsdam_3_10_RGB.tif"
    assert cv2.imwrite(str(image), np.full((SIDE, SIDE, 3), 2000, np.uint16))
    (problem,) = verify("tiles", tiles, "val")
    assert (problem.found, problem.expected) == ("16-bit RGB PNG", "an 8-bit colour image")
    with pytest.raises(DataError, match="16-bit RGB"):
        quick_check(open_dataset("tiles", tiles, "val"))


def test_a_label_that_was_stored_with_loss_is_refused(tiles):
    label = tiles / "5_Labels/top_potsdam_3_10_label.tif"
    save(label, COLOURS[ids_of(2)], "jpeg")
    (problem,) = verify("tiles", tiles, "val")
    assert problem.file == label
    assert "not a PNG" in problem.found


def test_a_description_of_tiffs_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        save(Path(f"photos/{number}.tif"), np.full((SIDE, SIDE, 3), number, np.uint8))
        save(Path(f"masks/{number}_mask.tif"), ids_of(number))
    done = bench("data", "new", "mine", "--images", "photos", "--labels", "masks")
    assert done.code == 0, done.err
    assert 'suffixes = [".tif", ".tiff"]' in Path("mine.toml").read_text()
    assert 'label = ["{name}_mask.tif"]' in Path("mine.toml").read_text()
    said = bench("data", "verify", "mine.toml")
    assert "mine: good (train 4, val 1 images)" in said.out
