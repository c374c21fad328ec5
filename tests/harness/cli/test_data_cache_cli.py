"""`bench data cache`, and runs that use what it keeps."""

from __future__ import annotations

import shutil

import pytest
from bench_cli import IMAGES, QUICK, bench, refused
from fake_records import fake_cost
from real_formats import write_cityscapes, write_gta5

from harness.config import catalogue
from harness.data import store_build
from harness.data.datasets import Dataset
from harness.data.store import stores
from harness.records import store as records
from harness.runs import run as runs


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(store_build.fingerprint, "SETTLED_NS", -(10**12))


@pytest.fixture
def root(tmp_path):
    write_gta5(tmp_path / "data", 4, (96, 56))
    write_cityscapes(tmp_path / "data", 4, 2, (96, 48))
    return tmp_path / "data"


def cache(*arguments):
    outcome = bench("data", "cache", *arguments)
    assert outcome.code == 0, outcome.err
    return " ".join(outcome.out.split())


def test_an_empty_cache_says_so():
    assert "holds no decoded images" in cache()


def test_a_scenario_is_built_listed_and_removed(root):
    options = ("gta2cs", "--profile", "tiny", "--data-root", root)
    text = cache(*options)
    assert "gta5 train in 240 x 136, raw: 8 files written" in text
    assert "cityscapes train in 192 x 96, raw: 4 files written" in text
    assert "cityscapes val in 192 x 96, raw: 2 files written" in text
    assert "gta5 train in 240 x 136, raw: all is there" in cache(*options)
    listing = cache()
    assert "gta5 │ train │ 240 x 136 │ raw │ 4 │ 4 │" in listing
    assert "cityscapes │ val │ 192 x 96 │ raw │ 2 │ 0 │" in listing
    cache(*options, "--remove")
    assert list(stores()) == []


def test_a_data_set_is_built_in_the_format_asked_for(root):
    options = ("--profile", "tiny", "--format", "compressed", "--data-root", root)
    assert "a scenario with others is cached by its own name" in cache("cityscapes", *options)
    assert [(held.description["format"], held.images, held.labels) for held in stores()] == [
        ("compressed", 4, 4),
        ("compressed", 2, 0),
    ]


def test_a_dry_run_says_what_it_costs_and_writes_nothing(root):
    text = cache("gta5", "--profile", "paper", "--data-root", root, "--dry-run")
    assert "gta5 train in 1280 x 720, raw: 8 files to build, about 10." in text  # 1234 x 720
    assert "are free" in text
    assert list(stores()) == []
    cache("gta5", "--profile", "tiny", "--data-root", root)
    assert "would be removed" in cache(
        "gta5", "--profile", "tiny", "--data-root", root, "--remove", "--dry-run"
    )
    assert len(list(stores())) == 1


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(root, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0))
    line = refused(bench("data", "cache", "gta5", "--data-root", root))
    assert "needed, 0.0 MB free" in line
    assert "--format compressed" in line
    assert list(stores()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gta2c"], "did you mean 'gta2cs'"),
        (["camvid"], "found no camvid in"),
    ],
)
def test_a_wrong_name_is_one_line(root, arguments, says):
    assert says in refused(bench("data", "cache", *arguments, "--data-root", root))


def test_a_run_that_builds_its_store_has_the_same_figures(root, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "measured_speed", lambda *_: fake_cost().inference)
    arguments = ["run", "--method", "dacs", "--scenario", "gta2cs", "--profile", "tiny", *QUICK]
    arguments += ["--data-root", root]
    plain = bench(*arguments, "--results", tmp_path / "plain")
    assert plain.code == 0, plain.err
    assert list(stores()) == []
    built = bench(*arguments, "--results", tmp_path / "built", "--set", "data_store=raw")
    assert built.code == 0, built.err
    width, height = IMAGES["gta5"]
    assert {tuple(held.description["size"]) for held in stores()} == {(width, height), (96, 48)}
    one, other = (records.read_all([tmp_path / n / "records"])[0] for n in ("plain", "built"))
    assert one.run_id == other.run_id
    assert one.metrics.golden.losses == other.metrics.golden.losses
    assert one.metrics.student == other.metrics.student
    reads = []
    plain_read = Dataset.read_image
    monkeypatch.setattr(
        Dataset, "read_image", lambda *a: reads.append(a[0].split) or plain_read(*a)
    )
    again = bench(*arguments, "--results", tmp_path / "again")
    assert again.code == 0, again.err
    assert set(reads) == {"val"}  # training read the store alone


def test_the_field_stands_in_every_profile():
    assert catalogue.profile("paper").data_store == "auto"
