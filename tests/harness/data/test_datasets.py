"""Every data set is read exactly as it lies on disk."""

from __future__ import annotations

import itertools
import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapes import CAMVID_IDS, CITYSCAPES_IDS, GROUP_COLOURS
from PIL import Image
from real_formats import (
    encode,
    files_below,
    save_png,
    street,
    write_camvid,
    write_camvid_colours,
    write_cityscapes,
    write_gta5,
    write_synthia,
)

from harness.data.datasets import has_dataset, open_dataset, splits_there
from harness.data.layouts import layout_of, split_by_rule
from harness.errors import DataError

PLAIN = ("images", "labels")
AUTHORS = ("701_StillsRaw_full", "LabeledApproved_full")


def assert_streets(dataset, n):
    assert len(dataset) == n
    for i in range(n):
        image, label = street(i)
        np.testing.assert_array_equal(dataset.read_image(i), image)
        np.testing.assert_array_equal(dataset.read_label(i), label)


def test_gta5_reads_palette_indices(tmp_path):
    folder = write_gta5(tmp_path, 3)
    with Image.open(folder / "labels" / "00001.png") as label:
        assert label.mode == "P"
    # What conversion scripts of other projects leave beside the data is no label of ours.
    save_png(folder / "labels" / "00001_labelTrainIds.png", street(0)[1])
    assert_streets(open_dataset("gta5", tmp_path, "train"), 3)


def test_synthia_reads_16_bit_red(tmp_path):
    folder = write_synthia(tmp_path, 2)
    raw = cv2.imread(str(folder / "GT/LABELS/0000000.png"), cv2.IMREAD_UNCHANGED)
    assert raw.dtype == np.uint16
    assert_streets(open_dataset("synthia", tmp_path, "train"), 2)


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_reads_both_kinds_of_label(tmp_path, kind):
    write_cityscapes(tmp_path, 1, 2, kind=kind)
    assert_streets(open_dataset("cityscapes", tmp_path, "train"), 1)
    assert_streets(open_dataset("cityscapes", tmp_path, "val"), 2)


def test_cityscapes_prefers_label_ids(tmp_path):
    folder = write_cityscapes(tmp_path, 1, 1)
    other = np.zeros((48, 64), np.uint8)
    stem = "frankfurt_000000_000019_gtFine_labelTrainIds.png"
    save_png(folder / "gtFine" / "val" / "frankfurt" / stem, other)
    assert_streets(open_dataset("cityscapes", tmp_path, "val"), 1)


def test_camvid_in_the_segnet_form(tmp_path):
    write_camvid(tmp_path, 3)
    assert_streets(open_dataset("camvid", tmp_path, "train"), 3)
    assert_streets(open_dataset("camvid", tmp_path / "camvid", "val"), 3)
    assert_streets(open_dataset("camvid", tmp_path, "test"), 3)


@pytest.mark.parametrize(("folders", "suffix"), [(AUTHORS, "_L"), (PLAIN, "_L"), (PLAIN, "")])
def test_camvid_in_the_authors_form(tmp_path, folders, suffix):
    frames = ["0006R0_f00930", "0016E5_00390", "0016E5_07959", "0016E5_08159", "Seq05VD_f00000"]
    write_camvid_colours(tmp_path, frames, folders, suffix)
    train = open_dataset("camvid", tmp_path, "train")
    val = open_dataset("camvid", tmp_path, "val")
    assert_streets(train, 2)
    assert [s.image.stem for s in train.samples] == frames[:2]
    assert [s.image.stem for s in val.samples] == frames[2:4]
    np.testing.assert_array_equal(val.read_label(0), street(2)[1])


def test_camvid_split_files_go_first(tmp_path):
    folder = write_camvid_colours(tmp_path, ["0006R0_f00930", "0016E5_00390"], AUTHORS)
    (folder / "train.txt").write_text("train/0016E5_00390.png trainannot/0016E5_00390.png\n\n")
    (folder / "val.txt").write_text("0006R0_f00930\n")
    train, val = (open_dataset("camvid", tmp_path, split) for split in ("train", "val"))
    assert [s.image.stem for s in train.samples] == ["0016E5_00390"]
    assert [s.image.stem for s in val.samples] == ["0006R0_f00930"]


def test_a_camvid_frame_is_of_one_split_where_only_some_have_lists(tmp_path):
    """SegNet tests on Seq05VD: what train.txt claims of it is no longer there to test on."""
    frames = ["0001TP_006690", "0001TP_008550", "Seq05VD_f00000", "Seq05VD_f00030"]
    folder = write_camvid_colours(tmp_path, frames, AUTHORS)
    (folder / "train.txt").write_text("Seq05VD_f00000\n")
    splits = {split: camvid_frames(tmp_path, split) for split in ("train", "test")}
    assert splits == {"train": ["Seq05VD_f00000"], "test": ["0001TP_008550", "Seq05VD_f00030"]}


def camvid_frames(root: Path, split: str) -> list[str]:
    return [sample.image.stem for sample in open_dataset("camvid", root, split).samples]


@pytest.mark.parametrize("form", ["segnet", "authors"])
def test_camvid_by_day_and_at_dusk(form, tmp_path):
    """SegNet's splits part the clip at dusk in time; all else was filmed by day."""
    by_split = {
        "train": ["0001TP_006690", "0001TP_008520", "0006R0_f00930", "0016E5_00390"],
        "val": ["0016E5_07959"],
        "test": ["0001TP_008550", "0001TP_010380", "Seq05VD_f05100"],
    }
    all_frames = sorted(itertools.chain.from_iterable(by_split.values()))
    write_camvid_colours(tmp_path, all_frames, AUTHORS)
    if form == "segnet":
        whole = tmp_path / "camvid"
        for split, frames in by_split.items():
            for folder, part, ending in (
                (AUTHORS[0], split, ""),
                (AUTHORS[1], f"{split}annot", "_L"),
            ):
                (whole / part).mkdir()
                for frame in frames:
                    (whole / folder / f"{frame}{ending}.png").rename(whole / part / f"{frame}.png")
            assert camvid_frames(tmp_path, split) == frames
    assert camvid_frames(tmp_path, "day") == [
        "0006R0_f00930", "0016E5_00390", "0016E5_07959", "Seq05VD_f05100"
    ]  # fmt: skip
    assert camvid_frames(tmp_path, "dusk_train") == ["0001TP_006690", "0001TP_008520"]
    assert camvid_frames(tmp_path, "dusk_test") == ["0001TP_008550", "0001TP_010380"]
    first_by_day = open_dataset("camvid", tmp_path, "day").read_label(0)
    np.testing.assert_array_equal(first_by_day, street(all_frames.index("0006R0_f00930"))[1])


def test_camvids_test_split_need_not_be_there(tmp_path):
    folder = write_camvid(tmp_path, 2)
    assert splits_there("camvid", tmp_path) == ["train", "val", "test"]
    shutil.rmtree(folder / "test")
    shutil.rmtree(folder / "testannot")
    assert splits_there("camvid", tmp_path) == ["train", "val"]
    with pytest.raises(DataError, match=r"no image of the test split.*--set eval_split=val"):
        open_dataset("camvid", tmp_path, "test")
    with pytest.raises(DataError, match="no split 'night', only train and val and test and day"):
        open_dataset("camvid", tmp_path, "night")


def test_camvid_has_segnets_split():
    expected = {
        "0001TP_006690": "train", "0001TP_008520": "train", "0001TP_008550": "test",
        "0001TP_010380": "test", "0006R0_f03930": "train", "0016E5_00390": "train",
        "0016E5_07957": "train", "0016E5_07959": "val", "0016E5_08159": "val",
        "0016E5_08190": "train", "Seq05VD_f05100": "test",
    }  # fmt: skip
    assert {frame: split_by_rule(layout_of("camvid"), 0, frame) for frame in expected} == expected


def test_every_camvid_colour_is_its_groups_class(tmp_path):
    """31 colours in 11 groups; the 32nd, void, is ignored, and so is a colour of no class."""
    folder = write_camvid_colours(tmp_path, ["0006R0_f00930"], AUTHORS)
    colours = [(c, CAMVID_IDS[g]) for g, named in GROUP_COLOURS.items() for c in named.values()]
    assert len({c for c, _ in colours}) == 31
    rows = np.array([c for c, _ in colours] + [(0, 0, 0), (64, 129, 64)], np.uint8)
    save_png(folder / AUTHORS[1] / "0006R0_f00930_L.png", rows[None])
    read = open_dataset("camvid", tmp_path, "train").read_label(0)
    assert read[0].tolist() == [train_id for _, train_id in colours] + [255, 255]


@pytest.mark.parametrize("name", ["gta5", "synthia"])
def test_ids_map_as_in_the_reference(tmp_path, golden, name):
    vectors = np.load(golden / "j_labels.npz")
    if name == "gta5":
        folder = write_gta5(tmp_path, 1)
        save_png(folder / "labels" / "00001.png", vectors["gta_raw_ids"])
        save_png(folder / "images" / "00001.png", np.zeros((24, 40, 3), np.uint8))
        expected = vectors["gta_converted"]
    else:
        folder = write_synthia(tmp_path, 1)
        bgr = np.ascontiguousarray(vectors["synthia_raw_rgb16"][..., ::-1])
        assert cv2.imwrite(str(folder / "GT/LABELS/0000000.png"), bgr)
        expected = vectors["synthia_converted"]
    np.testing.assert_array_equal(open_dataset(name, tmp_path, "train").read_label(0), expected)


def test_resize_keeps_the_aspect_of_image_and_label(tmp_path):
    write_gta5(tmp_path, 1, size=(96, 40))
    dataset = open_dataset("gta5", tmp_path, "train")
    assert dataset.read_image(0, (48, 27)).shape == (20, 48, 3)
    label = dataset.read_label(0, (48, 27))
    assert label.shape == (20, 48)
    assert set(np.unique(label)) <= set(np.unique(street(0, 96, 40)[1]))


def test_pairs_of_two_sizes_are_named_and_left_out(tmp_path, caplog):
    folder = write_gta5(tmp_path, 3)
    save_png(folder / "labels" / "00002.png", np.zeros((48, 60), np.uint8))
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset("gta5", tmp_path, "train")
    assert [s.image.name for s in dataset.samples] == ["00001.png", "00003.png"]
    assert "00002.png" in caplog.text
    assert "00001.png" not in caplog.text


def test_a_subset_and_links_are_fine(tmp_path):
    real = write_gta5(tmp_path / "elsewhere", 4)
    (real / "images" / "00001.png").unlink()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "gta5").symlink_to(real)
    dataset = open_dataset("gta5", tmp_path / "root", "train")
    assert [s.image.name for s in dataset.samples] == ["00002.png", "00003.png", "00004.png"]
    np.testing.assert_array_equal(dataset.read_label(0), street(1)[1])


def test_a_read_only_folder_stays_as_it_is(tmp_path):
    write_cityscapes(tmp_path, 2, 1)
    before = files_below(tmp_path)
    folders = [path for path in [tmp_path, *tmp_path.rglob("*")] if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert_streets(open_dataset("cityscapes", tmp_path, "train"), 2)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert files_below(tmp_path) == before


def test_fingerprint_is_the_same_wherever_the_files_lie(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    folder = write_gta5(here, 3)
    fingerprint = open_dataset("gta5", here, "train").fingerprint()
    shutil.copytree(here, there)
    assert open_dataset("gta5", there, "train").fingerprint() == fingerprint
    with (folder / "images" / "00002.png").open("ab") as file:
        file.write(b"x")
    assert open_dataset("gta5", here, "train").fingerprint() != fingerprint
    (there / "gta5/images/00003.png").rename(there / "gta5/images/00009.png")
    assert open_dataset("gta5", there, "train").fingerprint() != fingerprint


def test_errors_say_what_to_do(tmp_path):
    assert not has_dataset("gta5", tmp_path)
    with pytest.raises(DataError, match=r"found no gta5 in .*expected .*labels/\*\.png: unpack"):
        open_dataset("gta5", tmp_path, "train")
    with pytest.raises(DataError, match="gta5 has no split 'val'"):
        open_dataset("gta5", tmp_path, "val")
    with pytest.raises(DataError, match="no data set is called 'gta6'; there are acdc"):
        open_dataset("gta6", tmp_path, "train")
    (tmp_path / "gta5" / "images").mkdir(parents=True)
    (tmp_path / "gta5" / "labels").mkdir()
    assert has_dataset("gta5", tmp_path)
    with pytest.raises(DataError, match="found no image of the train split"):
        open_dataset("gta5", tmp_path, "train")


def test_an_rgb_label_is_not_guessed_at(tmp_path):
    folder = write_gta5(tmp_path, 1)
    with Image.open(folder / "labels" / "00001.png") as label:
        label.convert("RGB").save(folder / "labels" / "00001.png")
    with pytest.raises(DataError, match=r"00001\.png: a label of mode RGB"):
        open_dataset("gta5", tmp_path, "train").read_label(0)


def test_encode_is_the_inverse_of_reading():
    """The writers of these tests are no second copy of the reader's table."""
    assert encode(np.array([[0, 18]], np.uint8), CITYSCAPES_IDS, 0).tolist() == [[7, 33]]
