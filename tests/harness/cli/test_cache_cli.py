"""`bench cache`."""

import os
import time

import pytest
from bench_cli import bench

from harness.data.scenes.writer import ensure_dataset


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    root = ensure_dataset("gta5", {"train": 1}, size=(48, 32))
    (tmp_path / "cache" / "inference").mkdir()
    for name in "ab":
        (tmp_path / "cache" / "inference" / f"{name}.json").write_text("{}")
    return root


def test_what_is_kept_is_listed(made):
    text = " ".join(bench("cache", "list").out.split())
    assert f"generated data │ {made.name} │" in text
    assert "inference speeds │ 2 files │" in text
    assert "today" in text
    assert f"in {made.parent}; `bench cache prune` removes" in text


def test_only_the_old_goes_and_a_dry_run_removes_nothing(made):
    days = time.time() - 40 * 86400
    os.utime(made, (days, days))
    assert "40 days ago" in bench("cache", "list").out
    outcome = bench("cache", "prune", "--dry-run")
    assert made.name in outcome.out
    assert "would be removed" in outcome.out
    assert made.is_dir()
    assert "removed from" in bench("cache", "prune").out
    assert not made.exists()
    assert "2 files" in bench("cache", "list").out
    bench("cache", "prune", "--unused", "0")
    assert bench("cache", "list").out == f"0.0 MB in {made.parent}\n"


def test_what_cannot_be_removed_is_said(made, monkeypatch):
    monkeypatch.setattr("harness.data.cache.remove", lambda path: None)
    outcome = bench("cache", "prune", "--unused", "0")
    assert outcome.code == 1
    assert "3 could not be removed" in outcome.out


@pytest.mark.parametrize("days", ["-1", "nan", "soon"])
def test_days_are_checked(days):
    assert "--unused" in bench("cache", "prune", "--unused", days).err
