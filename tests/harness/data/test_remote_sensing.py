"""LoveDA and ISPRS' two cities are read as they lie on disk, and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench_cli import bench, refused
from PIL import Image
from real_formats import save_png

from harness.config import catalogue
from harness.data.datasets import has_dataset, open_dataset
from harness.data.verify import verify
from harness.errors import DataError
from harness.records import store

#: As the authors publish them, in the order of ids from 1 on.
LOVEDA = ["background", "building", "road", "water", "barren", "forest", "agricultural"]
ISPRS = {
    "impervious surface": (255, 255, 255),
    "building": (0, 0, 255),
    "low vegetation": (0, 255, 255),
    "tree": (0, 255, 0),
    "car": (255, 255, 0),
    "clutter": (255, 0, 0),
}
MICRO = [
    "--student", "test_mit", "--set", "iterations=2", "--set", "crop=32,32", "--set", "workers=0",
    "--set", "warmup=1", "--set", "rcs_min_pixels=10", "--set", "image_size.loveda=[64,64]",
]  # fmt: skip


def ids_of(number: int, classes: int) -> np.ndarray:
    """Label ids (64, 64) in which every class is, and 0."""
    rng = np.random.default_rng(number)
    ids = rng.integers(0, classes + 1, (8, 8)).astype(np.uint8)
    ids.flat[: classes + 1] = range(classes + 1)
    return ids.repeat(8, 0).repeat(8, 1)


def write_loveda(root: Path, images: int = 3) -> Path:
    """Train and Val with Rural and Urban in each; image and mask have one number."""
    folder = root / "LoveDA"
    for part, place in enumerate(("Train/Rural", "Train/Urban", "Val/Rural", "Val/Urban")):
        for number in range(part * images, (part + 1) * images):
            ids = ids_of(number, 7)
            save_png(folder / place / f"images_png/{number}.png", np.stack([ids * 30] * 3, -1))
            save_png(folder / place / f"masks_png/{number}.png", ids)
    return folder


def write_isprs(root: Path, name: str, names: list[str], colours: bool = False) -> Path:
    """Patches as mmsegmentation's converter names them, in ids or in the tiles' colours."""
    folder = root / name
    palette = np.array([(0, 0, 0), *ISPRS.values()], np.uint8)
    for number, patch in enumerate(names):
        ids = ids_of(number, 6)
        for split in ("train", "val"):
            save_png(folder / f"img_dir/{split}/{patch}.png", np.stack([ids * 30] * 3, -1))
            label = palette[ids] if colours else ids
            save_png(folder / f"ann_dir/{split}/{patch}.png", label)
    return folder


def train_ids(ids: np.ndarray) -> np.ndarray:
    return np.where(ids == 0, 255, ids - 1)


@pytest.mark.parametrize("nested", [False, True])
def test_loveda_has_two_domains_of_seven_classes(tmp_path, nested):
    folder = write_loveda(tmp_path, 2)
    for split in ("Train", "Val") if nested else ():
        (folder / split).rename(tmp_path / "moving")
        (folder / split).mkdir()
        (tmp_path / "moving").rename(folder / split / split)
    first = {"rural_train": 0, "urban_train": 2, "rural_val": 4, "urban_val": 6}
    for split, start in first.items():
        dataset = open_dataset("loveda", tmp_path, split)
        assert [s.image.name for s in dataset.samples] == [f"{start + i}.png" for i in range(2)]
        for i in range(2):
            np.testing.assert_array_equal(dataset.read_label(i), train_ids(ids_of(start + i, 7)))
        assert list(dataset.classes.names) == LOVEDA
        assert not verify("loveda", tmp_path, split)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize(
    ("name", "patches"),
    [
        ("potsdam", ["2_10_0_0_512_512", "2_10_0_512_512_1024"]),
        ("vaihingen", ["area1_0_0_512_512", "area1_0_256_512_768"]),
    ],
)
def test_isprs_patches_are_read_in_ids_and_in_colours(tmp_path, name, patches, colours):
    folder = write_isprs(tmp_path, name, patches, colours)
    dataset = open_dataset(name, tmp_path, "val")
    assert list(dataset.classes.names) == list(ISPRS)
    assert list(dataset.classes.palette) == list(ISPRS.values())
    for i in range(2):
        np.testing.assert_array_equal(dataset.read_label(i), train_ids(ids_of(i, 6)))
    assert not verify(name, tmp_path)
    folder.rename(tmp_path / "patches")  # then names of patches tell the cities apart
    there = [
        other for other in ("potsdam", "vaihingen") if has_dataset(other, tmp_path / "patches")
    ]
    assert there == [name]


def test_tiles_that_were_not_cut_are_named_with_what_to_do(tmp_path):
    tile = tmp_path / "potsdam/img_dir/train/top_potsdam_2_10_IRRG.tif"
    (tmp_path / "potsdam/ann_dir/train").mkdir(parents=True)
    tile.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tile)
    with pytest.raises(DataError, match=r"img_dir/<train, val>/\*\.png .* cut from the tiles"):
        open_dataset("potsdam", tmp_path, "train")


def test_the_scenarios_go_both_ways():
    for name in ("loveda_r2u", "loveda_u2r"):
        scenario = catalogue.scenario(name)
        source, target = scenario.source_split[:5], scenario.target_split[:5]
        assert {source, target} == {"rural", "urban"}
        assert (source[0], target[0]) == (name[7], name[9])
        assert scenario.eval_split == f"{target}_val"
    for name in ("potsdam2vaihingen", "vaihingen2potsdam"):
        scenario = catalogue.scenario(name)
        assert f"{scenario.source}2{scenario.target}" == name
        assert len(catalogue.classes_of(scenario)) == 6


def test_a_method_adapts_from_the_country_to_the_city(tmp_path):
    write_loveda(tmp_path)
    arguments = [
        "run", "--method", "daformer", "--scenario", "loveda_r2u", "--profile", "tiny", *MICRO,
        "--results", tmp_path / "runs",
    ]  # fmt: skip
    done = bench(*arguments, "--data-root", tmp_path)
    assert done.code == 0, done
    (record,) = store.read_all(tmp_path / "runs/records")
    scores = record.metrics.student
    assert list(scores.iou) == LOVEDA
    assert record.metrics.val_images == 3
    expected = sum(np.bincount(ids_of(n, 7).ravel(), minlength=8)[1:] for n in (9, 10, 11))
    assert np.array(scores.confusion).sum(1).tolist() == expected.tolist()
    assert scores.conventions == {"all7": scores.miou}
    assert record.spec.method_config["ignore_bottom"] == 0
    assert "loveda has no generated rendering" in refused(bench(*arguments))
