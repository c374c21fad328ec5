"""Copies of the sets as they are handed on: each is taken for itself, or what it lacks is named."""

from __future__ import annotations

import shutil

import pytest
from real_formats import (
    WRITERS,
    save_png,
    street,
    write_camvid_colours,
    write_cityscapes,
    write_gta5,
)

from harness.config import catalogue
from harness.config.data_set import DataSet
from harness.data.datasets import has_dataset, open_dataset
from harness.data.locate import find_folder
from harness.errors import DataError


def sets_in(root):
    return [name for name in catalogue.names("datasets") if has_dataset(name, root)]


@pytest.mark.parametrize("name", WRITERS)
def test_a_root_that_is_the_set_or_holds_it_once_more(name, tmp_path):
    folder = WRITERS[name](tmp_path)
    count = len(open_dataset(name, tmp_path, "train"))
    nested = tmp_path / "again" / folder.name.upper() / folder.name
    shutil.copytree(folder, nested)
    for root in (folder, nested.parent, nested.parent.parent):
        assert sets_in(root) == [name]
        assert len(open_dataset(name, root, "train")) == count


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("gta5", {"images": "01_images/images", "labels": "01_labels/labels"}),
        ("gta5", {"images": "images/images", "labels": "labels/labels"}),
        ("cityscapes", {"leftImg8bit": "leftImg8bit_trainvaltest/leftImg8bit",
                        "gtFine": "gtFine_trainvaltest/gtFine"}),
        ("cityscapes", {"leftImg8bit": "leftImg8bit/leftImg8bit", "gtFine": "gtFine/gtFine"}),
        ("acdc", {"rgb_anon": "rgb_anon_trainvaltest/rgb_anon", "gt": "gt_trainval/gt"}),
        ("camvid", {"trainannot": "train_labels", "valannot": "val_labels"}),
    ],
)  # fmt: skip
def test_archives_unpacked_into_folders_of_their_own(name, moves, tmp_path):
    folder = WRITERS[name](tmp_path)
    before = open_dataset(name, tmp_path, "train")
    for old, new in moves.items():
        (folder / old).rename(folder / "moving")
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / "moving").rename(folder / new)
    after = open_dataset(name, tmp_path, "train")
    assert [s.image.name for s in after.samples] == [s.image.name for s in before.samples]
    assert all(sample.label.is_file() for sample in after.samples)


def test_frames_tell_sets_apart_that_use_the_same_folders(tmp_path):
    """GTA5 and one form of CamVid both keep images/ and labels/."""
    gta5 = write_gta5(tmp_path / "a", 2)
    camvid = write_camvid_colours(tmp_path / "b", ["0006R0_f00930"], ("images", "labels"))
    for folder, name in ((gta5, "gta5"), (camvid, "camvid")):
        assert sets_in(folder) == [name]
        assert sets_in(folder.rename(folder.with_name("data"))) == [name]


def test_what_is_missing_is_named(tmp_path):
    folder = write_gta5(tmp_path, 1)
    shutil.rmtree(folder / "labels")
    (folder / "01_labels.zip").touch()
    with pytest.raises(DataError, match=r"holds images/ but no labels/; 01_labels\.zip is not unp"):
        open_dataset("gta5", tmp_path, "train")
    write_cityscapes(tmp_path, 1, 1)
    with pytest.raises(DataError, match=r"found no synthia in .*: it holds cityscapes; expected"):
        open_dataset("synthia", tmp_path, "train")
    with pytest.raises(DataError, match="there is no such folder"):
        open_dataset("gta5", tmp_path / "absent", "train")


def test_what_stands_beside_the_images_is_no_image_and_is_named(tmp_path, caplog):
    folder = write_gta5(tmp_path, 3)
    for name in ("._00001.png", "00001_palette.png", "00002_labelTrainIds.png"):
        shutil.copy(folder / "images/00001.png", folder / "images" / name)
    dataset = open_dataset("gta5", tmp_path, "train")
    assert [sample.image.name for sample in dataset.samples] == [f"0000{i}.png" for i in (1, 2, 3)]
    assert "leaves out 1 hidden (._00001.png); 2 derived from others beside them" in caplog.text


def test_upper_case_suffixes_and_jpeg_images_have_their_labels(tmp_path):
    folder = write_gta5(tmp_path, 2)
    for part, new in (("images", "00001.JPG"), ("labels", "00001.PNG")):
        (folder / part / "00001.png").rename(folder / part / new)
    dataset = open_dataset("gta5", tmp_path, "train")
    assert [sample.label.name for sample in dataset.samples] == ["00001.PNG", "00002.png"]
    assert (dataset.read_label(0) == street(0)[1]).all()


def test_a_list_that_disagrees_with_the_folder_is_named(tmp_path, caplog):
    folder = write_camvid_colours(tmp_path, ["a", "b", "c"], ("images", "labels"))
    (folder / "train.txt").write_text("a\ngone\n")
    (folder / "val.txt").write_text("b\n")
    assert len(open_dataset("camvid", tmp_path, "train")) == 1
    assert "1 named in train.txt but not there (gone)" in caplog.text
    assert "1 not named in train.txt or val.txt (c.png)" in caplog.text


def test_a_list_names_a_file_in_any_unicode_form(tmp_path, caplog):
    folder = write_camvid_colours(tmp_path, ["cafe\u0301", "b"], ("images", "labels"))
    (folder / "train.txt").write_text("caf\u00e9\n", encoding="utf-8")
    (folder / "val.txt").write_text("b\n")
    assert len(open_dataset("camvid", tmp_path, "train")) == 1
    assert not caplog.text


def test_a_folder_of_frames_without_a_city_is_read(tmp_path):
    folder = write_cityscapes(tmp_path, 2, 1)
    for part in ("leftImg8bit", "gtFine"):
        for file in sorted((folder / part / "train").rglob("*.png")):
            file.rename(folder / part / "train" / file.name)
    save_png(folder / "leftImg8bit/train/other.png", street(0)[0])
    dataset = open_dataset("cityscapes", tmp_path, "train")
    assert len(dataset) == 2
    assert all(sample.label.is_file() for sample in dataset.samples)


def own_set(**values) -> DataSet:
    """A set of the user's as a record holds it: without the folder in which its files lay."""
    values = {"name": "mine", "splits": {"train": {}, "val": {"every": 2}}} | values
    return DataSet.model_validate(values)


@pytest.mark.parametrize(
    ("places", "splits"),
    [
        ({"images": "photos", "labels": ["masks"]}, {"train": {}}),
        ({"images": "photos/{split}", "labels": ["masks/{split}"]}, {"a": {"path": "summer"}}),
        ({"images": "photos"}, {"train": {}}),
        ({"images": ".", "labels": ["masks"]}, {"train": {}}),
    ],
)
def test_a_set_of_the_users_is_known_by_its_own_files_folders(
    tmp_path, monkeypatch, places, splits
):
    own = own_set(layouts=[{"places": [places]}], splits=splits)
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {"mine": own})
    for root in (tmp_path / "archive", tmp_path / "data/mine"):
        for part in ("photos/summer", "masks/summer"):
            (root / part).mkdir(parents=True)
    (tmp_path / "empty/mine/other").mkdir(parents=True)
    assert find_folder("mine", tmp_path / "archive") == tmp_path / "archive"
    assert find_folder("mine", tmp_path / "data") == tmp_path / "data/mine"
    assert find_folder("mine", tmp_path / "empty") is None  # the name alone is not enough
    with pytest.raises(DataError, match=r"mine holds other/ and none of the folders expected"):
        open_dataset("mine", tmp_path / "empty", next(iter(splits)))


def test_a_set_of_files_in_the_folder_itself_is_known_by_its_name(tmp_path, monkeypatch):
    own = own_set(layouts=[{"places": [{"images": "."}]}])
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {"mine": own})
    (tmp_path / "mine").mkdir()
    assert find_folder("mine", tmp_path) == tmp_path / "mine"
