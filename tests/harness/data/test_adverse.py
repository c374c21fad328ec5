"""ACDC and Dark Zurich are read as published, and what is wrong with them gets one clear line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from real_formats import (
    cut_short,
    files_below,
    save_png,
    street,
    write_acdc,
    write_cityscapes,
    write_darkzurich,
)

from harness.data.datasets import has_dataset, open_dataset
from harness.data.layouts import layout_of
from harness.data.rare_class import class_statistics
from harness.data.scenes.adverse import CONDITIONS
from harness.data.verify import quick_check, verify
from harness.errors import DataError


def assert_streets(dataset, numbers):
    assert len(dataset) == len(numbers)
    for i, number in enumerate(numbers):
        image, label = street(number)
        np.testing.assert_array_equal(dataset.read_image(i), image)
        np.testing.assert_array_equal(dataset.read_label(i), label)


def only(problems):
    """The one problem, as the line a user reads."""
    assert len(problems) == 1, problems
    line = str(problems[0])
    assert "\n" not in line
    return line


@pytest.mark.parametrize("kind", ["labelTrainIds", "labelIds"])
def test_acdc_has_all_four_conditions_in_both_kinds_of_label(tmp_path, kind):
    write_acdc(tmp_path, 2, kind=kind)
    train, val = (open_dataset("acdc", tmp_path, split) for split in ("train", "val"))
    assert_streets(train, range(8))
    assert_streets(val, range(8, 16))
    for dataset in (train, val):
        conditions = [s.image.relative_to(dataset.root).parts[1] for s in dataset.samples]
        assert conditions == [condition for condition in CONDITIONS for _ in range(2)]


def test_acdc_prefers_train_ids(tmp_path):
    folder = write_acdc(tmp_path, 1, conditions=("rain",))
    for label in (folder / "gt").rglob("*_labelTrainIds.png"):
        other = label.with_name(label.name.replace("TrainIds", "Ids"))
        save_png(other, np.zeros((48, 64), np.uint8))
    assert_streets(open_dataset("acdc", tmp_path, "val"), [1])


def test_acdc_gathered_in_one_folder_a_split(tmp_path):
    """As DAFormer's instructions leave it, beside the published folders or in their place."""
    folder = write_acdc(tmp_path, 1)
    for kind in ("rgb_anon", "gt"):
        for split in ("train", "val"):
            files = list((folder / kind).glob(f"*/{split}/*/*.png"))
            (folder / kind / split).mkdir()
            for file in files:
                shutil.copy(file, folder / kind / split)
    assert_streets(open_dataset("acdc", tmp_path, "train"), range(4))
    for kind in ("rgb_anon", "gt"):
        for condition in CONDITIONS:
            shutil.rmtree(folder / kind / condition)
    assert_streets(open_dataset("acdc", tmp_path, "train"), range(4))
    assert verify("acdc", tmp_path) == []


def test_one_condition_of_acdc_is_a_set_too(tmp_path):
    write_acdc(tmp_path, 2, conditions=("night",))
    assert_streets(open_dataset("acdc", tmp_path / "acdc", "train"), [0, 1])


def test_dark_zurichs_nights_open_without_labels(tmp_path):
    write_darkzurich(tmp_path, 3, 2)
    train, val = (open_dataset("darkzurich", tmp_path, split) for split in ("train", "val"))
    assert [train.read_image(i).shape for i in range(3)] == [(48, 64, 3)] * 3
    assert all("night" in s.image.parts for s in train.samples)
    assert (train.has_labels, val.has_labels) == (False, True)
    assert len(train.fingerprint()) == 16
    assert_streets(val, [0, 1])
    quick_check(train, labels=False)
    quick_check(val)


def test_who_asks_for_labels_that_were_never_published_is_told_in_one_line(tmp_path):
    write_darkzurich(tmp_path, 3, 2)
    with pytest.raises(DataError, match="darkzurich was published without labels") as error:
        quick_check(open_dataset("darkzurich", tmp_path, "train"))
    assert "\n" not in str(error.value)


def test_labels_of_ones_own_are_read(tmp_path):
    """Such as pseudo-labels: the folder says what there is."""
    folder = write_darkzurich(tmp_path, 2, 1)
    for image in (folder / "rgb_anon/train/night").rglob("*.png"):
        name = image.name.replace("rgb_anon", "gt_labelTrainIds")
        save_png(folder / "gt/train/night" / image.parent.name / name, street(0)[1])
    train = open_dataset("darkzurich", tmp_path, "train")
    quick_check(train)
    np.testing.assert_array_equal(train.read_label(1), street(0)[1])
    next((folder / "gt/train").rglob("*.png")).unlink()
    assert "no such file" in only(verify("darkzurich", tmp_path))


def test_neither_set_is_taken_for_the_other(tmp_path):
    write_acdc(tmp_path / "a", 1)
    write_darkzurich(tmp_path / "d", 1, 1)
    write_cityscapes(tmp_path / "c", 1, 1)
    roots = ("a", "a/acdc", "d", "d/dark_zurich", "c")
    assert [has_dataset("acdc", tmp_path / root) for root in roots] == [True, True, *[False] * 3]
    taken = [has_dataset("darkzurich", tmp_path / root) for root in roots]
    assert taken == [False, False, True, True, False]


def test_the_published_counts():
    assert layout_of("acdc").published == {"train": 1600, "val": 406}
    assert layout_of("darkzurich").published == {"train": 2416, "val": 50}


@pytest.mark.parametrize("name", ["acdc", "darkzurich"])
def test_good_data_has_no_problem_and_no_new_file(tmp_path, name):
    write_acdc(tmp_path, 2)
    write_darkzurich(tmp_path, 2, 2)
    before = files_below(tmp_path)
    folders = [path for path in [tmp_path, *tmp_path.rglob("*")] if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert verify(name, tmp_path) == []
        class_statistics(open_dataset(name, tmp_path, "val"))
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ["acdc", "darkzurich"])
@pytest.mark.parametrize("part", ["rgb_anon", "gt"])
def test_a_half_written_file(tmp_path, name, part):
    folder = write_acdc(tmp_path, 2) if name == "acdc" else write_darkzurich(tmp_path, 2, 2)
    file = open_dataset(name, tmp_path, "val").samples[1][part == "gt"]
    assert file.is_relative_to(folder / part)
    cut_short(file)
    line = only(verify(name, tmp_path))
    assert file.name in line
    assert "half-written" in line


def test_a_half_written_image_without_label(tmp_path):
    folder = write_darkzurich(tmp_path, 2, 2)
    file = next((folder / "rgb_anon/train/night").rglob("*.png"))
    cut_short(file)
    assert f"{file.name}: half-written" in only(verify("darkzurich", tmp_path))
    with pytest.raises(DataError, match="half-written"):
        quick_check(open_dataset("darkzurich", tmp_path, "train"), labels=False)


def test_a_label_in_colours_of_unknown_ids_and_of_another_size(tmp_path):
    write_acdc(tmp_path, 1)
    labels = [s.label for s in open_dataset("acdc", tmp_path, "train").samples]
    with Image.open(labels[0]) as label:
        label.convert("RGB").save(labels[0])
    save_png(labels[1], np.full((48, 64), 33, np.uint8))
    save_png(labels[2], np.zeros((24, 64), np.uint8))
    lines = {str(p.file.name): str(p) for p in verify("acdc", tmp_path)}
    assert len(lines) == 3
    assert "8-bit RGB PNG; expected 8-bit grey PNG of train ids" in lines[labels[0].name]
    assert "unknown label ids 33" in lines[labels[1].name]
    assert "64x24 pixels; expected 64x48" in lines[labels[2].name]
    for line in lines.values():
        assert "cityscapesScripts" not in line, "both kinds of label are published"


def test_missing_labels_of_acdc_are_a_problem_where_they_are_read(tmp_path):
    folder = write_acdc(tmp_path, 2)
    shutil.rmtree(folder / "gt" / "snow" / "train")
    lines = [str(problem) for problem in verify("acdc", tmp_path)]
    assert len(lines) == 2
    assert all("gt/snow/train" in line and "no such file" in line for line in lines)
    quick_check(open_dataset("acdc", tmp_path, "train"), labels=False)
    with pytest.raises(DataError, match="no such file"):
        quick_check(open_dataset("acdc", tmp_path, "train"))


def test_a_missing_split_and_a_label_without_its_image(tmp_path):
    folder = write_darkzurich(tmp_path, 2, 2)
    next((folder / "rgb_anon/val/night").rglob("*.png")).unlink()
    assert "a label without its image" in only(verify("darkzurich", tmp_path))
    shutil.rmtree(folder / "rgb_anon/val")
    assert "no image of the val split" in only(verify("darkzurich", tmp_path))
    with pytest.raises(DataError, match=r"val split .*gt/val/night/<sequence>"):
        open_dataset("darkzurich", tmp_path, "val")
    with pytest.raises(DataError, match=r"found no acdc in .*rgb_anon/<condition>"):
        open_dataset("acdc", tmp_path, "train")
