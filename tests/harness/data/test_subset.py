"""`bench subset`: few files, every class, the originals untouched."""

from __future__ import annotations

import numpy as np
import pytest
from bench_cli import bench, refused
from cityscapes import CLASSES
from real_formats import (
    files_below,
    write_camvid,
    write_camvid_colours,
    write_cityscapes,
    write_gta5,
    write_synthia,
)

from harness.config import catalogue
from harness.data.datasets import open_dataset
from harness.data.rare_class import class_statistics
from harness.data.scenes import write_dataset
from harness.data.subset import covering


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    write_gta5(root, 12)
    write_cityscapes(root, 10, 6)
    return root


def cut(root, out, *extra, scenario="gta2cs"):
    return bench("subset", "--scenario", scenario, "--data-root", root, "--out", out, *extra)


def classes(name, root, split):
    return class_statistics(open_dataset(name, root, split)).pixels > 0


def test_files_are_copied_byte_for_byte_under_their_names(data, tmp_path):
    before = {p: p.read_bytes() for p in data.rglob("*.png")}
    out = tmp_path / "few"
    done = cut(data, out, "--images", "3")
    assert done.code == 0, done.err
    copies = {p.relative_to(out): p.read_bytes() for p in out.rglob("*.png")}
    assert len(copies) == 2 * 3 * 3
    assert all(before[data / path] == content for path, content in copies.items())
    assert {p: p.read_bytes() for p in data.rglob("*.png")} == before
    assert {p.name for p in tmp_path.iterdir()} == {"data", "few"}
    assert f"--scenario gta2cs --profile tiny --data-root {out}" in done.out
    assert f"copying files to {out}: {2 * 3 * 3}" in done.out


def test_every_class_is_kept_and_what_the_data_lacks_is_named(data, tmp_path):
    out = tmp_path / "few"
    done = cut(data, out, "--images", "2")
    for name, split in (("gta5", "train"), ("cityscapes", "train"), ("cityscapes", "val")):
        dataset = open_dataset(name, out, split)
        assert len(dataset) == 2
        # The bicycle is in one image of all, a person in every second one.
        assert np.array_equal(classes(name, out, split), classes(name, data, split))
    text = " ".join(done.out.split())
    assert "gta5 train: 2 of 12 images, with all of its 6 classes" in text
    assert "the data itself has no sidewalk, wall, fence" in text


def test_a_subset_verifies_and_is_a_data_root(data, tmp_path):
    cut(data, tmp_path / "few", "--images", "2")
    checked = bench("data", "verify", "--data-root", tmp_path / "few")
    assert checked.code == 0, checked.out
    again = cut(tmp_path / "few", tmp_path / "fewer", "--images", "2")
    assert again.code == 0
    assert files_below(tmp_path / "few") == files_below(tmp_path / "fewer")


def test_the_seed_draws_the_others(data, tmp_path):
    drawn = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        cut(data, tmp_path / name, "--images", "4", "--seed", seed)
        drawn.append(files_below(tmp_path / name))
    assert drawn[0] == drawn[1] != drawn[2]


def test_refusals_leave_nothing_behind(data, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    (there / "mine.txt").write_text("kept")
    assert "not empty" in refused(cut(data, there))
    assert "lies inside gta5" in refused(cut(data, data / "gta5/images/few"))
    assert "needs 2 to show each" in refused(cut(data, tmp_path / "few", "--images", "1"))
    assert "no synthia" in refused(cut(data, tmp_path / "few", scenario="synthia2cs"))
    without_root = bench("subset", "--scenario", "gta2cs", "--out", tmp_path / "few")
    assert "--data-root" in refused(without_root)
    assert files_below(there) == {"mine.txt"}
    assert {p.name for p in tmp_path.iterdir()} == {"data", "there"}


def test_a_broken_off_copy_leaves_nothing(data, tmp_path, monkeypatch):
    def full(source, copy):
        raise OSError(28, "No space left on device", str(copy))

    monkeypatch.setattr("shutil.copyfile", full)
    assert "No space left" in refused(cut(data, tmp_path / "few"))
    assert {p.name for p in tmp_path.iterdir()} == {"data"}


def test_an_empty_folder_is_filled_and_a_small_set_taken_whole(data, tmp_path):
    (tmp_path / "few").mkdir()
    assert cut(data, tmp_path / "few").code == 0
    assert files_below(tmp_path / "few") == files_below(data)


def test_links_are_followed_and_images_without_labels_drawn(data, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "gta").symlink_to(data / "gta5")
    (linked / "cityscapes").symlink_to(data / "cityscapes")
    for label in (data / "cityscapes/gtFine/train").rglob("*.png"):
        label.unlink()
    done = cut(linked, tmp_path / "few", "--images", "2")
    assert "cityscapes train: 2 of 10 images, drawn at random: labels are missing" in done.out
    few = tmp_path / "few"
    assert len(open_dataset("gta5", few, "train")) == 2
    assert not (few / "gta").is_symlink()


@pytest.mark.parametrize("form", ["segnet", "authors"])
def test_camvid_with_a_generated_source(form, tmp_path):
    root = tmp_path / "data"
    if form == "segnet":
        write_camvid(root, 5)
    else:
        frames = [f"0006R0_f{number:05d}" for number in range(11)]
        folder = write_camvid_colours(root, frames, ("701_StillsRaw_full", "LabeledApproved_full"))
        (folder / "train.txt").write_text("\n".join(frames[:5]))
        (folder / "val.txt").write_text("\n".join(frames[5:8]))
        (folder / "test.txt").write_text("\n".join(frames[8:]))
    done = cut(root, tmp_path / "few", "--images", "2", scenario="gta2camvid")
    assert done.code == 0, done.err
    for split in ("train", "test"):
        assert len(open_dataset("camvid", tmp_path / "few", split)) == 2


def test_synthia_keeps_its_sixteen_bits(tmp_path):
    root = tmp_path / "data"
    write_synthia(root, 6)
    write_cityscapes(root, 4, 4, kind="labelTrainIds")
    done = cut(root, tmp_path / "few", "--images", "2", scenario="synthia2cs")
    assert done.code == 0, done.err
    assert bench("data", "verify", "--data-root", tmp_path / "few").code == 0


@pytest.mark.parametrize("target", ["acdc", "darkzurich"])
def test_sets_by_night_and_in_bad_weather(target, tmp_path):
    root, out = tmp_path / "data", tmp_path / "few"
    write_dataset("cityscapes", {"train": 5}, root, size=(96, 48))
    write_dataset(target, {"train": 6, "val": 5}, root, size=(96, 48))
    done = cut(root, out, "--images", "4", scenario=f"cs2{target}")
    assert done.code == 0, done.err
    assert all(
        p.read_bytes() == (root / p.relative_to(out)).read_bytes() for p in out.rglob("*.png")
    )
    assert len(open_dataset("cityscapes", out, "train")) == 4
    for split in ("train", "val"):
        assert len(open_dataset(target, out, split)) == 4
    assert np.array_equal(classes(target, out, "val"), classes(target, root, "val"))


def counts_of(*images):
    """Pixel counts of 1000-pixel images given as {class: pixels}; the rest is ignored."""
    counts = np.zeros((len(images), len(CLASSES) + 1), np.int64)
    for row, image in zip(counts, images, strict=True):
        for train_id, pixels in image.items():
            row[train_id] = pixels
        row[-1] = 1000 - row.sum()
    return counts


def test_covering_is_small_and_prefers_what_can_be_seen():
    counts = (
        counts_of(
            {0: 500, 18: 0},
            {0: 400, 1: 300, 2: 100},
            {0: 100, 1: 100},
            {5: 1, 18: 5},
            {5: 200},
        )
        * 10
    )
    counts[3, 5] = 1  # a speck: image 4 is the one that shows class 5
    chosen = covering(counts, np.arange(5))
    assert sorted(chosen) == [1, 3, 4]


def test_covering_takes_a_speck_where_there_is_nothing_better():
    counts = counts_of({0: 500}, {0: 400}) * 10_000
    counts[1, 16] = 3
    assert covering(counts, np.arange(2)) == [1]
    assert covering(np.zeros((2, 20), np.int64), np.arange(2)) == []


def test_a_split_that_is_missing_is_answered_with_options_that_the_verb_has(tmp_path):
    for path in sorted((write_camvid(tmp_path, 2)).glob("test*/*")):
        path.unlink()
    said = refused(cut(tmp_path, tmp_path / "few", scenario="gta2camvid"))
    assert "`bench run` and `bench eval` take --set eval_split=val" in said
    assert 'a scenario file with eval_split = "val"' in said
    mine = tmp_path / "mine.toml"
    shipped = (catalogue.BENCHMARKS / "scenarios" / "gta2camvid.toml").read_text()
    lines = [line for line in shipped.splitlines() if not line.startswith("eval_split")]
    mine.write_text("\n".join(['eval_split = "val"', *lines]))
    done = cut(tmp_path, tmp_path / "few", "--images", "2", scenario=str(mine))
    assert done.code == 0, done.err
