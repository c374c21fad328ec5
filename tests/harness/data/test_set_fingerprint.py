"""A data set's name follows its content, and each file is read once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from real_formats import files_below, write_cityscapes, write_gta5

from harness.config import catalogue
from harness.data import fingerprint
from harness.data.cache import cache_dir
from harness.data.datasets import open_dataset
from harness.data.rare_class import class_statistics
from harness.errors import DataError


@pytest.fixture
def read(monkeypatch):
    """Names of the files that are hashed, in any order."""
    hashed: list[str] = []
    plain = fingerprint._hash

    def spy(file: Path) -> str:
        hashed.append(f"{file.parent.name}/{file.name}")
        return plain(file)

    monkeypatch.setattr(fingerprint, "_hash", spy)
    return hashed


@pytest.fixture
def settled(monkeypatch):
    """The tests' files, just written, count as old enough for their times to tell a change."""
    monkeypatch.setattr(fingerprint, "SETTLED_NS", -(10**12))


def of(root: Path, name: str = "gta5", split: str = "train") -> str:
    return open_dataset(name, root, split).fingerprint()


def change_a_byte(file: Path) -> None:
    """Another content of the same size, and the modification time it had."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("file", ["labels/00002.png", "images/00003.png"])
def test_another_content_of_equal_size_and_time_is_another_data_set(tmp_path, settled, file):
    folder = write_gta5(tmp_path, 3)
    before = of(tmp_path)
    assert of(tmp_path) == before
    change_a_byte(folder / file)
    assert of(tmp_path) != before


def test_a_relabelled_set_has_class_statistics_of_its_own(tmp_path):
    folder = write_gta5(tmp_path, 2)
    before = class_statistics(open_dataset("gta5", tmp_path, "train"))
    first, second = (folder / "labels" / name for name in ("00001.png", "00002.png"))
    size = first.stat().st_size
    first.write_bytes(second.read_bytes().ljust(size, b"\0")[: max(size, second.stat().st_size)])
    after = class_statistics(open_dataset("gta5", tmp_path, "train"))
    assert not np.array_equal(before.counts[0], after.counts[0])


def test_a_file_is_read_once(tmp_path, read, settled):
    folder = write_gta5(tmp_path, 3)
    before = files_below(tmp_path)
    first = of(tmp_path)
    assert len(read) == len(set(read)) == 6
    read.clear()
    assert of(tmp_path) == first
    assert read == []
    change_a_byte(folder / "labels/00001.png")
    of(tmp_path)
    assert read == ["labels/00001.png"]
    assert files_below(tmp_path) == before


def test_a_file_that_has_just_changed_is_not_trusted(tmp_path, read):
    write_gta5(tmp_path, 2)
    of(tmp_path)
    of(tmp_path)
    assert len(read) == 8


def test_verify_reads_what_is_known_again(tmp_path, read, settled):
    write_gta5(tmp_path, 2)
    dataset = open_dataset("gta5", tmp_path, "train")
    first = dataset.fingerprint()
    read.clear()
    assert dataset.fingerprint(reread=True) == first
    assert len(read) == 4


def test_of_many_images_a_sample_is_read_and_every_label(tmp_path, read, monkeypatch):
    monkeypatch.setattr(fingerprint, "SAMPLED_IMAGES", 2)
    write_gta5(tmp_path / "here", 5)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    seen = []
    here = open_dataset("gta5", tmp_path / "here", "train").fingerprint(
        lambda done, total: seen.append((done, total))
    )
    assert seen == [(i, 7) for i in range(1, 8)]
    assert sum(name.startswith("labels/") for name in read) == 5
    sampled = {name for name in read if name.startswith("images/")}
    read.clear()
    assert of(tmp_path / "there") == here
    assert {name for name in read if name.startswith("images/")} == sampled
    assert len(sampled) == 2


def test_the_splits_of_a_set_share_an_index(tmp_path, read, settled):
    write_cityscapes(tmp_path, 2, 1)
    train, val = of(tmp_path, "cityscapes"), of(tmp_path, "cityscapes", "val")
    assert train != val
    read.clear()
    assert (of(tmp_path, "cityscapes"), of(tmp_path, "cityscapes", "val")) == (train, val)
    assert read == []
    assert len(list((cache_dir() / "file_hashes").iterdir())) == 1


def test_another_table_of_class_ids_is_another_data_set(tmp_path, monkeypatch):
    write_gta5(tmp_path, 1)
    before = of(tmp_path)
    gta5 = catalogue.data_set("gta5")
    encoding = gta5.encodings[0]
    ids = encoding.model_copy(update={"ids": encoding.ids | {"6": "road"}})
    changed = gta5.model_copy(update={"encodings": (ids,)})
    monkeypatch.setitem(catalogue._OWN_DATA_SETS, "gta5", changed)
    assert of(tmp_path) != before


def test_missing_labels_count_as_missing(tmp_path):
    folder = write_gta5(tmp_path, 2)
    before = of(tmp_path)
    (folder / "labels/00002.png").unlink()
    assert of(tmp_path) != before


@pytest.mark.parametrize("content", ["{", "[1]", '{"labels/00001.png": []}'])
def test_a_broken_index_is_made_again(tmp_path, content, settled):
    write_gta5(tmp_path, 2)
    before = of(tmp_path)
    (index,) = (cache_dir() / "file_hashes").iterdir()
    index.write_text(content)
    assert of(tmp_path) == before


def test_where_the_cache_cannot_be_written_files_are_read_again(tmp_path, monkeypatch, caplog):
    write_gta5(tmp_path, 2)
    (tmp_path / "file").touch()
    before = of(tmp_path)
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path / "file"))
    assert of(tmp_path) == before
    assert "hashes of files are not kept" in caplog.text


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write_gta5(tmp_path, 2)

    def refuse(file: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"00001\.png: Permission denied; expected a file that can"):
        of(tmp_path)
