"""A store of decoded images gives back what the data set reads, and never less."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from real_formats import (
    WRITERS,
    files_below,
    save_png,
    street,
    write_camvid_colours,
    write_cityscapes,
    write_gta5,
)

from harness.data import fingerprint, store_build
from harness.data.datasets import Dataset, open_dataset
from harness.data.eval_loader import eval_batches
from harness.data.loader import TrainLoader
from harness.data.store import Store, StoredPixels, stores
from harness.data.store_build import build, ensure, estimate, missing
from harness.errors import DataError
from harness.files import this_machine

BOTH = ("image", "label")
SIZE = (48, 27)  # 64 x 48 becomes 36 x 27


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """The tests' files, just written, count as old enough for their times to tell a change."""
    monkeypatch.setattr(fingerprint, "SETTLED_NS", -(10**12))


@pytest.fixture
def gta5(tmp_path) -> Dataset:
    write_gta5(tmp_path, 5)
    return open_dataset("gta5", tmp_path, "train")


@pytest.fixture
def no_decoding(monkeypatch):
    """From now on the data set's own files cannot be read."""

    def refuse(self, index, size=None):
        raise AssertionError(f"{self.name}: image or label {index} was decoded")

    def now() -> None:
        monkeypatch.setattr(Dataset, "read_image", refuse)
        monkeypatch.setattr(Dataset, "read_label", refuse)

    return now


LAYOUTS = {
    **WRITERS,
    "cityscapes train ids": lambda root: write_cityscapes(root, 3, 1, kind="labelTrainIds"),
    "camvid colours": lambda root: write_camvid_colours(
        root, ["0001TP_006690", "0006R0_f00930"], ("701_StillsRaw_full", "LabeledApproved_full")
    ),
}


@pytest.mark.parametrize("format_", ["raw", "compressed"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_pixels_of_every_layout_are_equal(tmp_path, no_decoding, layout, format_):
    LAYOUTS[layout](tmp_path)
    dataset = open_dataset(layout.split()[0], tmp_path, "train")
    labels = dataset.has_labels
    before = files_below(tmp_path)
    images = [dataset.read_image(i, SIZE) for i in range(len(dataset))]
    ids = [dataset.read_label(i, SIZE) for i in range(len(dataset))] if labels else []
    assert build(Store(dataset, SIZE, format_), BOTH) == len(images) + len(ids)
    no_decoding()
    stored = StoredPixels(dataset, SIZE, format_)
    for i, image in enumerate(images):
        np.testing.assert_array_equal(stored.read_image(i), image)
    for i, label in enumerate(ids):
        np.testing.assert_array_equal(stored.read_label(i), label)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("format_", ["raw", "compressed"])
def test_images_of_several_shapes_and_of_noise_are_equal(tmp_path, format_):
    write_gta5(tmp_path, 2)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (50, 71, 3), np.uint8)
    save_png(tmp_path / "gta5/images/00003.png", noise)
    save_png(tmp_path / "gta5/labels/00003.png", rng.integers(0, 34, (50, 71), np.uint8))
    dataset = open_dataset("gta5", tmp_path, "train")
    build(Store(dataset, (64, 48), format_), BOTH)
    stored = StoredPixels(dataset, (64, 48), format_)
    for i in range(3):
        np.testing.assert_array_equal(stored.read_image(i), dataset.read_image(i, (64, 48)))
        np.testing.assert_array_equal(stored.read_label(i), dataset.read_label(i, (64, 48)))


@pytest.mark.parametrize("format_", ["raw", "compressed"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_training_batches_are_equal(tmp_path, gta5, profile, no_decoding, format_, flip):
    write_cityscapes(tmp_path, 3, 1)
    target = open_dataset("cityscapes", tmp_path, "train")
    profile = profile.model_copy(update={"flip": flip, "source_augmentation": "photometric"})

    def batches():
        return list(TrainLoader(gta5, target, profile, 0, target_labels=True, steps=4))

    decoded = batches()
    for dataset in (gta5, target):
        build(Store(dataset, (64, 48), format_), BOTH)
    no_decoding()
    for one, other in zip(decoded, batches(), strict=True):
        for field in ("source_image", "source_label", "target_image", "target_label"):
            assert torch.equal(getattr(one, field), getattr(other, field))


def test_a_profile_can_leave_a_store_alone(gta5, no_decoding):
    build(Store(gta5, SIZE, "raw"), BOTH)
    no_decoding()
    with pytest.raises(AssertionError, match="was decoded"):
        StoredPixels(gta5, SIZE, "off").read_image(0)


def test_images_are_scored_from_a_store(tmp_path, no_decoding, monkeypatch):
    write_cityscapes(tmp_path, 1, 2)
    val = open_dataset("cityscapes", tmp_path, "val")
    decoded = list(eval_batches(val, (32, 24), data_store="off"))
    build(Store(val, (32, 24), "raw"), ("image",))
    labels = Dataset.read_label
    no_decoding()
    monkeypatch.setattr(Dataset, "read_label", labels)  # scored at their full resolution
    for one, other in zip(decoded, eval_batches(val, (32, 24)), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("part", BOTH)
def test_a_changed_source_is_read_and_built_again_alone(gta5, part):
    store = Store(gta5, SIZE, "raw")
    build(store, BOTH)
    source = getattr(gta5.samples[2], part)
    times = source.stat()
    other = getattr(gta5.samples[3], part).read_bytes()
    source.write_bytes(other.ljust(times.st_size, b"\0"))
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))  # the change time tells
    read = StoredPixels(gta5, SIZE)
    pixels = read.read_image(2) if part == "image" else read.read_label(2)
    np.testing.assert_array_equal(pixels, store.pixels(part, 3))
    assert [(p, i) for p, i, _ in missing(store, BOTH)] == [(part, 2)]
    assert build(store, BOTH) == 1
    assert (next(stores()).images, next(stores()).labels) == (5, 5)  # the outdated file is gone


def test_a_build_that_was_cut_short_goes_on(gta5, monkeypatch):
    store = Store(gta5, SIZE, "raw")
    plain = Store.write

    def killed(self, part, index, name):
        if (part, index) == ("label", 1):
            raise KeyboardInterrupt
        return plain(self, part, index, name)

    monkeypatch.setattr(Store, "write", killed)
    monkeypatch.setattr(store_build, "_threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        build(store, BOTH)
    monkeypatch.setattr(Store, "write", plain)
    left = missing(store, BOTH)
    assert 0 < len(left) < 10
    assert ("label", 1) in {(part, index) for part, index, _ in left}
    assert build(store, BOTH) == len(left)


def test_half_a_store_is_used_as_far_as_it_goes(gta5):
    store = Store(gta5, SIZE, "raw")
    build(store, ("image",))
    stored = StoredPixels(gta5, SIZE)
    assert (len(stored.files["image"]), len(stored.files["label"])) == (5, 0)
    np.testing.assert_array_equal(stored.read_label(4), gta5.read_label(4, SIZE))


@pytest.mark.parametrize("format_", ["raw", "compressed"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_file_is_read_from_its_source(gta5, caplog, format_, damage):
    store = Store(gta5, SIZE, format_)
    build(store, BOTH)
    stored = StoredPixels(gta5, SIZE)
    for files in stored.files.values():
        if damage == "gone":
            files[0].unlink()
        else:
            content = files[0].read_bytes()
            files[0].write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    np.testing.assert_array_equal(stored.read_image(0), gta5.read_image(0, SIZE))
    np.testing.assert_array_equal(stored.read_label(0), gta5.read_label(0, SIZE))
    assert caplog.text.count("read from the data set instead") == 2


def test_what_a_killed_build_left_is_removed(gta5):
    store = Store(gta5, SIZE, "raw")
    store.folder.mkdir(parents=True)
    abandoned = store.folder / f".ab.image.npy.99999999-{this_machine()}-0123abcd.tmp"
    abandoned.touch()
    build(store, BOTH)
    assert not abandoned.exists()


def test_the_estimate_is_what_is_written(gta5):
    store = Store(gta5, SIZE, "raw")
    cost = estimate(store, ("image",))
    assert cost.files == 5
    assert not store.folder.exists()
    build(store, ("image",))
    held = next(stores())
    described = (held.folder / "store.json").stat().st_size
    assert cost.size_bytes == held.size_bytes - described
    assert estimate(store, ("image",)).files == 0


def test_a_full_disk_is_one_line_and_training_goes_on(gta5, monkeypatch):
    plain = Path.write_bytes
    room = iter([True, True, True] + [False] * 99)

    def full(self, content):
        if not next(room):
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    said: list[str] = []
    ensure(gta5, SIZE, "raw", BOTH, said.append)
    assert "\n" not in said[-1]
    assert "No space left on device" in said[-1]
    assert "MB needed" in said[-1]
    assert "free" in said[-1]
    assert said[-1].endswith("Training reads the data set's own files.")
    stored = StoredPixels(gta5, SIZE)
    assert len(stored.files["image"]) == 3
    np.testing.assert_array_equal(stored.read_image(4), gta5.read_image(4, SIZE))


@pytest.mark.parametrize(("free", "built"), [(19, False), (21, True)])
def test_a_run_builds_up_to_half_of_the_free_disk(gta5, monkeypatch, free, built):
    store = Store(gta5, SIZE, "raw")
    size = estimate(store, BOTH).size_bytes
    usage = SimpleNamespace(free=size * free // 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    said: list[str] = []
    ensure(gta5, SIZE, "raw", BOTH, said.append)
    assert (missing(store, BOTH) == []) == built
    assert any("expected at most half" in line for line in said) != built


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_nothing_is_built_unasked(gta5, setting):
    ensure(gta5, SIZE, setting, BOTH, pytest.fail)
    assert list(stores()) == []


def test_two_builds_at_once_write_each_file_once(gta5):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda _: build(Store(gta5, SIZE, "raw"), BOTH), range(2)))
    assert sorted(counts) == [0, 10]


def test_a_store_is_built_where_files_cannot_be_locked(gta5, monkeypatch):
    error = OSError(errno.ENOLCK, "no locks")
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=error))
    assert build(Store(gta5, SIZE, "raw"), BOTH) == 10


def test_a_lock_that_fails_otherwise_is_said(gta5, monkeypatch):
    denied = OSError(errno.EACCES, "Permission denied")
    monkeypatch.setattr("harness.locks.FileLock.acquire", Mock(side_effect=denied))
    with pytest.raises(DataError, match=r"could not be written to .*: Permission denied"):
        build(Store(gta5, SIZE, "raw"), BOTH)


def test_a_source_that_has_just_changed_is_built_once_its_times_would_tell(gta5, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(fingerprint, "SETTLED_NS", 10**12)
    monkeypatch.setattr(store_build.time, "sleep", waits.append)
    build(Store(gta5, SIZE, "raw"), ("image",))
    assert len(waits) == 1
    assert 0 < waits[0] <= 1000


def test_a_source_that_changes_while_it_is_read_is_not_kept(gta5, monkeypatch):
    plain = Dataset.read_image

    def slow(self, index, size=None):
        pixels = plain(self, index, size)
        if index == 0:
            save_png(self.samples[0].image, street(1)[0])
        return pixels

    monkeypatch.setattr(Dataset, "read_image", slow)
    store = Store(gta5, SIZE, "raw")
    assert build(store, ("image",)) == 4
    assert [index for _, index, _ in missing(store, ("image",))] == [0]


def test_a_broken_source_is_named(gta5):
    gta5.samples[1].image.write_bytes(b"")
    with pytest.raises(DataError, match=r"00002\.png: cannot be read"):
        build(Store(gta5, SIZE, "raw"), BOTH)
