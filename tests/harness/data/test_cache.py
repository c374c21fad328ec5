"""What the cache holds, its bounds, and removing from it."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from harness.data import cache
from harness.data.rare_class import class_statistics
from harness.data.scenes.writer import ensure_dataset
from harness.data.sources import open_once
from harness.files import this_machine

SET = "scenes-v2-gta5-{:012x}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(path, *, days=0.0, size=10):
    """A generated set's folder, or a file, last used so many days ago."""
    file = path if path.suffix else path / "gta5" / "image.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))
    moment = time.time() - days * cache.DAY
    os.utime(path, (moment, moment))
    return path


def test_only_what_is_ours_is_listed_and_removed(folder):
    ours = {put(folder / SET.format(1), size=7), put(folder / "class_stats" / "12.json", size=5)}
    notes = put(folder / "notes.txt"), put(folder / "store" / "shop" / "prices.csv")
    assert {(entry.path, entry.size_bytes) for entry in cache.entries()} == {
        (path, 5 if path.suffix else 7) for path in ours
    }
    assert {entry.path for entry in cache.prune(cache.unused(0))} == ours
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in notes)


def test_what_was_used_lately_stays(folder):
    old, new = put(folder / SET.format(1), days=31), put(folder / SET.format(2), days=29)
    cache.prune(cache.unused(30 * cache.DAY))
    assert not old.exists()
    assert new.exists()


def test_what_a_killed_removal_left_goes_too(folder):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = folder / f".{SET.format(1)}.{dead.pid}-{this_machine()}-12.tmp"
    left.mkdir(parents=True)
    assert list(cache.entries()) == []
    cache.prune([])
    assert not left.exists()


def test_a_kind_keeps_to_its_bound_and_a_days_runs_keep_their_data(folder):
    kind = cache.Kind("generated data", cache.GENERATED.pattern, 2)
    sets = [put(folder / SET.format(i), days=days) for i, days in enumerate((9, 0.5, 0.8, 7, 0.1))]
    cache.keep_bounded(kind)
    assert [path.exists() for path in sets] == [False, True, True, False, True]


def test_a_new_set_makes_room_and_an_open_one_counts_as_used(folder, monkeypatch):
    old = put(folder / SET.format(1), days=3)
    small = {"train": 1}
    monkeypatch.setattr("harness.data.scenes.writer.GENERATED", cache.Kind("", "scenes-v*-*-*", 1))
    made = ensure_dataset("gta5", small, size=(48, 32))
    assert not old.exists()
    long_ago = time.time() - 50 * cache.DAY
    os.utime(made, (long_ago, long_ago))
    assert cache.unused(30 * cache.DAY)
    ensure_dataset("gta5", small, size=(48, 32))
    assert not cache.unused(30 * cache.DAY)


def test_statistics_that_are_read_count_as_used(folder):
    root = ensure_dataset("gta5", {"train": 1}, size=(48, 32))
    dataset = open_once("gta5", root, "train")
    class_statistics(dataset)
    (kept,) = cache.STATISTICS.paths()
    long_ago = time.time() - 50 * cache.DAY
    os.utime(kept, (long_ago, long_ago))
    class_statistics(dataset)
    assert kept.stat().st_mtime > time.time() - cache.DAY


def test_a_cache_that_may_not_be_written_is_read(folder, monkeypatch):
    made = ensure_dataset("gta5", {"train": 1}, size=(48, 32))

    def refuse(*arguments, **options):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert ensure_dataset("gta5", {"train": 1}, size=(48, 32)) == made
