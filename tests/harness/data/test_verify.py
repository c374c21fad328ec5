"""Each kind of bad data gets one clear line."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from real_formats import (
    cut_short,
    files_below,
    save_png,
    street,
    write_camvid,
    write_camvid_colours,
    write_cityscapes,
    write_gta5,
    write_synthia,
)

from harness.config import catalogue
from harness.config.data_set import DataSet
from harness.data import verify as verify_module
from harness.data.datasets import open_dataset
from harness.data.png import read_header
from harness.data.verify import quick_check, verify
from harness.errors import DataError


def write_all(root):
    write_gta5(root, 2)
    write_synthia(root, 2)
    write_cityscapes(root, 2, 1)
    write_camvid(root, 2)


def only(problems):
    """The one problem, as the line a user reads."""
    assert len(problems) == 1, problems
    line = str(problems[0])
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", ["gta5", "synthia", "cityscapes", "camvid"])
def test_good_data_has_no_problem_and_no_new_file(tmp_path, name):
    write_all(tmp_path)
    before = files_below(tmp_path)
    assert verify(name, tmp_path) == []
    quick_check(open_dataset(name, tmp_path, "train"))
    assert files_below(tmp_path) == before


def test_camvids_test_split_may_be_missing_not_half_there(tmp_path):
    folder = write_camvid(tmp_path, 2)
    cut_short(folder / "test" / "0001TP_008550.png")
    assert "half-written" in only(verify("camvid", tmp_path))
    for part in ("test", "testannot"):
        shutil.rmtree(folder / part)
    assert verify("camvid", tmp_path) == []
    assert "no image of the test split" in only(verify("camvid", tmp_path, "test"))


def test_camvid_colours_are_good(tmp_path):
    folders = ("701_StillsRaw_full", "LabeledApproved_full")
    write_camvid_colours(tmp_path, ["0006R0_f00930", "0016E5_07959"], folders)
    assert verify("camvid", tmp_path) == []


@pytest.mark.parametrize("what", ["images", "labels"])
def test_a_half_written_file(tmp_path, what):
    folder = write_gta5(tmp_path, 3)
    cut_short(folder / what / "00002.png")
    line = only(verify("gta5", tmp_path))
    assert f"{what}/00002.png: half-written" in line
    assert line.endswith("copy or unpack it again")
    with pytest.raises(DataError, match=r"00002\.png: half-written"):
        quick_check(open_dataset("gta5", tmp_path, "train"))


def test_a_half_written_file_of_a_large_set_is_found_without_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(verify_module, "SMALL_SET", 0)
    folder = write_gta5(tmp_path, 6)
    cut_short(folder / "images" / "00006.png")
    with pytest.raises(DataError, match=r"00006\.png: half-written"):
        quick_check(open_dataset("gta5", tmp_path, "train"))


def test_a_file_broken_inside(tmp_path):
    folder = write_gta5(tmp_path, 3)
    path = folder / "images" / "00003.png"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    assert verify("gta5", tmp_path, deep=False) == []
    assert "00003.png: damaged" in only(verify("gta5", tmp_path))
    with pytest.raises(DataError, match=r"00003\.png: damaged"):
        quick_check(open_dataset("gta5", tmp_path, "train"))


def test_a_file_that_is_no_png(tmp_path):
    folder = write_gta5(tmp_path, 2)
    (folder / "images" / "00001.png").write_bytes(b"<html>")
    assert "00001.png: 6 bytes, not a PNG" in only(verify("gta5", tmp_path))


def test_a_synthia_label_of_8_bits(tmp_path):
    folder = write_synthia(tmp_path, 2)
    cv2.imwrite(str(folder / "GT/LABELS/0000001.png"), np.zeros((48, 64, 3), np.uint8))
    line = only(verify("synthia", tmp_path))
    assert "0000001.png: 8-bit RGB PNG; expected 16-bit RGB PNG with the class id in red" in line


def test_a_gta_label_in_colours(tmp_path):
    folder = write_gta5(tmp_path, 2)
    path = folder / "labels" / "00002.png"
    with Image.open(path) as label:
        label.convert("RGB").save(path)
    line = only(verify("gta5", tmp_path))
    assert "00002.png: 8-bit RGB PNG; expected 8-bit palette PNG of Cityscapes label ids" in line


def test_a_palette_of_few_colours_is_stored_with_fewer_bits(tmp_path):
    folder = write_gta5(tmp_path, 1)
    label = Image.fromarray(np.full((48, 64), 7, np.uint8))
    label.putpalette(bytes(24))
    label.save(folder / "labels" / "00001.png")
    assert read_header(folder / "labels" / "00001.png").bits < 8
    assert verify("gta5", tmp_path) == []
    assert (open_dataset("gta5", tmp_path, "train").read_label(0) == 0).all()


def test_a_missing_label_and_a_whole_folder_of_them(tmp_path):
    folder = write_gta5(tmp_path, 6)
    (folder / "labels" / "00001.png").unlink()
    assert "labels/00001.png: no such file" in only(verify("gta5", tmp_path))
    for label in (folder / "labels").iterdir():
        label.unlink()
    line = only(verify("gta5", tmp_path))
    assert "labels: no such file (6 files, the first is 00001.png)" in line
    dataset = open_dataset("gta5", tmp_path, "train")
    quick_check(dataset, labels=False)
    with pytest.raises(DataError, match="labels: no such file"):
        quick_check(dataset)


def test_a_broken_link(tmp_path):
    folder = write_gta5(tmp_path, 2)
    image = folder / "images" / "00001.png"
    image.rename(tmp_path / "moved.png")
    image.symlink_to(tmp_path / "gone.png")
    assert "images/00001.png: no such file" in only(verify("gta5", tmp_path))


def test_a_missing_split(tmp_path):
    write_cityscapes(tmp_path, 2, 0)
    assert "no image of the val split" in only(verify("cityscapes", tmp_path))
    assert "no image of the val split" in only(verify("cityscapes", tmp_path, split="val"))
    assert verify("cityscapes", tmp_path, split="train") == []


def test_an_empty_and_a_missing_folder(tmp_path):
    assert "gta5: no such data set; expected images/*.png" in only(verify("gta5", tmp_path))
    for part in ("images", "labels"):
        (tmp_path / "gta5" / part).mkdir(parents=True)
    assert "no image of the train split" in only(verify("gta5", tmp_path))


def test_two_sizes(tmp_path):
    folder = write_cityscapes(tmp_path, 1, 1)
    label = folder / "gtFine/val/frankfurt/frankfurt_000000_000019_gtFine_labelIds.png"
    save_png(label, np.full((48, 32), 7, np.uint8))
    (problem,) = verify("cityscapes", tmp_path)
    assert "32x48 pixels; expected 64x48 as its image has" in str(problem)
    assert problem.fatal
    with pytest.raises(DataError, match="32x48 pixels"):
        quick_check(open_dataset("cityscapes", tmp_path, "val"))


def test_two_sizes_in_gta5_are_no_obstacle(tmp_path):
    folder = write_gta5(tmp_path, 3)
    save_png(folder / "labels" / "00002.png", np.full((48, 32), 7, np.uint8))
    (problem,) = verify("gta5", tmp_path)
    assert "training leaves the pair out" in str(problem)
    assert not problem.fatal
    quick_check(open_dataset("gta5", tmp_path, "train"))


def test_unknown_ids(tmp_path):
    folder = write_gta5(tmp_path, 2)
    save_png(folder / "labels" / "00001.png", np.full((48, 64), 99, np.uint8))
    assert "labels/00001.png: unknown label ids 99" in only(verify("gta5", tmp_path))
    assert verify("gta5", tmp_path, deep=False) == []


def test_labels_in_which_no_class_is_left(tmp_path):
    """As 16-bit labels read with 8 bits come out, or a copy that was never drawn."""
    folder = write_gta5(tmp_path, 2)
    for label in (folder / "labels").iterdir():
        save_png(label, np.zeros((48, 64), np.uint8))
    assert "labels: no pixel of any class in 2 label(s)" in only(verify("gta5", tmp_path))


def test_camvid_colours_of_no_class(tmp_path):
    folders = ("701_StillsRaw_full", "LabeledApproved_full")
    folder = write_camvid_colours(tmp_path, ["0006R0_f00930"], folders)
    blurred = np.full((48, 64, 3), 61, np.uint8)
    blurred[:20] = (128, 64, 128)
    save_png(folder / folders[1] / "0006R0_f00930_L.png", blurred)
    line = only(verify("camvid", tmp_path, split="train"))
    assert "unknown colours [61, 61, 61]; expected 8-bit RGB PNG of the 32 class colours" in line


def test_limit_looks_at_the_first_files(tmp_path):
    folder = write_gta5(tmp_path, 3)
    cut_short(folder / "images" / "00003.png")
    assert verify("gta5", tmp_path, limit=2) == []


def test_quick_check_shows_ten_lines_at_most(tmp_path):
    folder = write_gta5(tmp_path, 14)
    for i in range(14):  # of different lengths, so that no two lines are the same
        path = folder / "images" / f"{i + 1:05d}.png"
        path.write_bytes(path.read_bytes()[: 60 + i])
    with pytest.raises(DataError) as caught:
        quick_check(open_dataset("gta5", tmp_path, "train"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "gta5 (train) has 14 problem(s):"
    assert len(lines) == 12
    assert lines[-1] == "... `bench data verify` lists all"


def test_a_16_bit_image(tmp_path):
    folder = write_gta5(tmp_path, 1)
    cv2.imwrite(str(folder / "images/00001.png"), street(0)[0].astype(np.uint16))
    assert "images/00001.png: 16-bit RGB PNG; expected an 8-bit" in only(verify("gta5", tmp_path))


def test_a_label_without_its_image_is_named_but_stops_nothing(tmp_path):
    write_gta5(tmp_path, 3)
    (tmp_path / "gta5/images/00002.png").unlink()
    (problem,) = verify("gta5", tmp_path)
    assert problem.file.name == "00002.png"
    assert "without its image" in str(problem)
    assert not problem.fatal


def test_a_gta5_pair_of_two_sizes_is_left_out_as_jpeg_too(tmp_path):
    """verify says so of both: a run that kept the pair would stop at it."""
    folder = write_gta5(tmp_path, 3)
    for image in sorted((folder / "images").iterdir()):
        Image.open(image).save(image.with_suffix(".jpg"))
        image.unlink()
    Image.new("RGB", (40, 30)).save(folder / "images" / "00002.jpg")
    assert "training leaves the pair out" in only(verify("gta5", tmp_path))
    dataset = open_dataset("gta5", tmp_path, "train")
    assert [sample.image.name for sample in dataset.samples] == ["00001.jpg", "00003.jpg"]


def test_a_label_that_two_images_have_is_named(tmp_path, monkeypatch):
    """Fog and rain over one scene may share it; two sequences whose frames are numbered may not."""
    for weather in ("fog", "rain"):
        save_png(tmp_path / weather / "1.png", np.full((8, 8, 3), 9, np.uint8))
    save_png(tmp_path / "labels" / "1.png", np.eye(8, dtype=np.uint8))
    described = DataSet.model_validate(
        {
            "name": "mine",
            "folder": str(tmp_path),
            "layouts": [
                {
                    "places": [{"images": "{weather}", "labels": ["labels"]}],
                    "parts": {"weather": ["fog", "rain"]},
                }
            ],
            "splits": {"train": {}},
            "encodings": [{"ids": {"0": "a", "1": "b"}}],
        }
    )
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {"mine": described})
    (problem,) = verify("mine", tmp_path)
    assert "the label of 2 images" in str(problem)
    assert not problem.fatal
