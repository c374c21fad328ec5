"""BDD100K, Mapillary Vistas, IDD and WildDash 2 are read as they lie on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from real_formats import save_png, street

from harness.config import catalogue
from harness.data.datasets import Dataset, has_dataset, open_dataset
from harness.data.encodings import labels_of
from harness.data.sources import sized_for
from harness.data.verify import verify

SETS = ("bdd100k", "mapillary", "idd", "wilddash2")


def ids_by_train_id(name: str, encoding: int = 0) -> dict[int, int]:
    """An id of the set for each train id, its last where there are several, and one ignored id."""
    ids = labels_of(catalogue.data_set(name)).encodings[encoding]
    return {int(ids.table[i]): i for i in sorted(ids.known)}


def save_jpg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def label_of(number: int, ids: dict[int, int]) -> np.ndarray:
    """The street's label (48, 64) in ids of a set."""
    return np.vectorize(ids.__getitem__)(street(number)[1]).astype(np.uint8)


def write(name: str, root: Path, form: str = "") -> Path:
    """Two images a split, in one of the forms that the set is found in."""
    return {
        "bdd100k": write_bdd100k, "mapillary": write_mapillary, "idd": write_idd,
        "wilddash2": write_wilddash2,
    }[name](root, form)  # fmt: skip


def write_bdd100k(root: Path, form: str) -> Path:
    """The archives' images/10k and labels/sem_seg/masks, or the older seg/, or what is in that."""
    folder = root / "bdd100k"
    images, labels = {
        "seg": ("seg/images", "seg/labels"), "flat": ("images", "labels"),
    }.get(form, ("images/10k", "labels/sem_seg/masks"))  # fmt: skip
    for split in ("train", "val"):
        for i in range(2):
            stem = f"{i:08x}-{i + 7:08x}"
            save_jpg(folder / images / split / f"{stem}.jpg", street(i)[0])
            suffix = "_train_id.png" if form else ".png"
            save_png(folder / labels / split / f"{stem}{suffix}", street(i)[1])
    if not form:  # the 100,000 images of the other tasks
        save_jpg(folder / "images/100k/train/0000f77c-6257be58.jpg", street(0)[0])
    return folder


def write_mapillary(root: Path, form: str) -> Path:
    """Palette labels of 8 bits, instances of 16; version 2.0 keeps those of 1.2 in a folder."""
    folder = root / "mapillary-vistas-dataset_public_v1.2"
    below = "v1.2/" if form == "v2.0" else ""
    ids = ids_by_train_id("mapillary")
    for split in ("training", "validation"):
        for i in range(2):
            stem = f"{split[0]}-b{i}s9dTYyzU5JqDVEs{i}_aA"
            save_jpg(folder / split / "images" / f"{stem}.jpg", street(i)[0])
            label = label_of(i, ids)
            instances = folder / split / f"{below}instances" / f"{stem}.png"
            instances.parent.mkdir(parents=True, exist_ok=True)
            # Numbers of instances differ from pixel to pixel here: 256 times the id is what counts.
            numbers = 255 - np.indices(label.shape).sum(0) % 256
            assert cv2.imwrite(
                str(instances), (256 * label.astype(int) + numbers).astype(np.uint16)
            )
            if form != "instances":
                mask = Image.fromarray(label)
                mask.putpalette(list(range(256)) * 3)
                path = folder / split / f"{below}labels" / f"{stem}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                mask.save(path)
            if form == "v2.0":  # ids of another table under the same names
                save_png(folder / split / "v2.0/labels" / f"{stem}.png", label + 50)
    return folder


def write_idd(root: Path, form: str) -> Path:
    """leftImg8bit and gtFine by drives; part I has PNG images, part II JPEG files."""
    folder = root / "IDD_Segmentation"
    kinds = ["csTrainId", "id", "level3Id", "csId"]
    kind = form or "csTrainId"
    ids = ids_by_train_id("idd", kinds.index(kind))
    for split in ("train", "val"):
        drive = {"train": "0", "val": "119"}[split]
        for i, (stem, suffix) in enumerate([("005506", ".png"), ("frame0029", ".jpg")]):
            image = folder / "leftImg8bit" / split / drive / f"{stem}_leftImg8bit{suffix}"
            (save_png if suffix == ".png" else save_jpg)(image, street(i)[0])
            label = folder / "gtFine" / split / drive / f"{stem}_gtFine_label{kind}s.png"
            save_png(label, label_of(i, ids))
            label.with_name(f"{stem}_gtFine_polygons.json").write_text("{}")
    return folder


def write_wilddash2(root: Path, form: str) -> Path:
    """The labels of wd_public_02.zip, or what pano2sem.py makes of the panoptic ones."""
    folder = root / ("wd_public_v2p0" if form else "wd_public_02")
    ids = ids_by_train_id("wilddash2")
    for i, stem in enumerate(("cz0076_100000", "uk0053_100000")):
        save_jpg(folder / "images" / f"{stem}.jpg", street(i)[0])
        label = label_of(i, ids)
        if form:
            save_png(folder / "semantic" / f"{stem}_labelIds.png", label)
            save_png(folder / "panoptic" / f"{stem}.png", np.stack([label] * 3, -1))
        else:
            save_png(folder / "labels" / f"{stem}.png", label)
    return folder


FORMS = [
    ("bdd100k", ""), ("bdd100k", "seg"), ("bdd100k", "flat"), ("mapillary", ""),
    ("mapillary", "instances"), ("mapillary", "v2.0"), ("idd", ""), ("idd", "id"),
    ("idd", "level3Id"), ("idd", "csId"), ("wilddash2", ""), ("wilddash2", "v2p0"),
]  # fmt: skip


def assert_is_the_streets(dataset: Dataset) -> None:
    assert len(dataset) == 2
    assert dataset.classes.name == "cityscapes19"
    for i in range(2):
        np.testing.assert_array_equal(dataset.read_label(i), street(i)[1])
        difference = dataset.read_image(i)[..., 0].astype(int) - street(i)[0][..., 0]
        assert np.abs(difference).mean() < 30  # most are stored with loss


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_form_is_found_and_read(tmp_path, name, form):
    folder = write(name, tmp_path, form)
    for split in catalogue.data_set(name).splits:
        assert_is_the_streets(open_dataset(name, tmp_path, split))
    assert not verify(name, tmp_path)
    assert has_dataset(name, folder)  # the root may be the folder itself


def test_the_sets_are_not_taken_for_one_another(tmp_path):
    for name in SETS:
        write(name, tmp_path)
    for name in catalogue.names("datasets"):
        assert has_dataset(name, tmp_path) == (name in SETS)
    (tmp_path / "IDD_Segmentation").rename(tmp_path / "idd")
    there = [n for n in catalogue.names("datasets") if has_dataset(n, tmp_path / "idd")]
    assert there == ["idd"]  # leftImg8bit and gtFine are Cityscapes' folders too


def test_labels_of_mapillary_come_before_instances(tmp_path):
    write("mapillary", tmp_path)
    dataset = open_dataset("mapillary", tmp_path, "val")
    assert {sample.label.parent.name for sample in dataset.samples} == {"labels"}


def test_mapillarys_ids_of_version_2_are_named(tmp_path):
    folder = write("mapillary", tmp_path)
    for label in folder.glob("validation/labels/*.png"):
        save_png(label, np.full((48, 64), 100, np.uint8))
    (problem,) = {p.found for p in verify("mapillary", tmp_path, "val") if "ids" in p.found}
    assert problem == "unknown label ids 100"


def test_panoptic_labels_of_wilddash_are_not_read_as_ids(tmp_path):
    folder = write("wilddash2", tmp_path, "v2p0")
    for label in folder.glob("semantic/*"):
        label.unlink()
    problems = verify("wilddash2", tmp_path)
    assert [problem.file.parent.name for problem in problems] == ["semantic"] * 2


@pytest.mark.parametrize(
    ("size", "seen"), [((4000, 3000), (1024, 768)), ((3000, 4000), (768, 1024))]
)
def test_each_of_mapillarys_sizes_keeps_its_shape(tmp_path, size, seen):
    folder = write("mapillary", tmp_path)
    image = next(folder.glob("validation/images/*.jpg"))
    save_jpg(image, np.zeros((size[1], size[0], 3), np.uint8))
    profile = sized_for(["mapillary"], catalogue.profile("paper"), tmp_path)
    dataset = open_dataset("mapillary", tmp_path, "val")
    index = [sample.image for sample in dataset.samples].index(image)
    height, width = dataset.read_image(index, profile.image_size["mapillary"]).shape[:2]
    assert (width, height) == seen
