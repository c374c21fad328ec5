"""Planning opens a data set once, and again when its files have changed."""

from __future__ import annotations

import os

import pytest
from real_formats import (
    write_acdc,
    write_camvid,
    write_camvid_colours,
    write_cityscapes,
    write_gta5,
)

from harness.config import catalogue, suites
from harness.data import datasets, scenes
from harness.data.sources import find_sources, find_target, sized
from harness.errors import DataError


@pytest.fixture
def opened(monkeypatch):
    """(name, split) of each opening of files; what was opened before this test is forgotten."""
    openings: list[tuple[str, str]] = []
    plain = datasets.open_dataset

    def spy(name, root, split, labels):
        openings.append((name, split))
        return plain(name, root, split, labels)

    monkeypatch.setattr(datasets, "open_dataset", spy)
    monkeypatch.setattr(datasets, "_OPENED", {})
    monkeypatch.setattr(datasets, "SETTLED_NS", -(10**12))
    return openings


def test_planning_a_suite_on_real_data_opens_each_set_once(tmp_path, opened):
    write_gta5(tmp_path, 2)
    write_cityscapes(tmp_path, 2, 1)
    suite = catalogue.suite("main").model_copy(update={"scenarios": ["gta2cs"]})
    assert len(suites.run_ids(suite, tmp_path)) > 10
    assert sorted(opened) == [("cityscapes", "train"), ("cityscapes", "val"), ("gta5", "train")]


def test_a_source_opens_what_planning_found(tmp_path, opened):
    write_gta5(tmp_path, 2)
    write_cityscapes(tmp_path, 2, 1)
    sources = find_sources(catalogue.scenario("gta2cs"), catalogue.profile("tiny"), tmp_path)
    assert len(opened) == 3
    assert sources.source.open("train") is sources.source.open("train")
    assert len(opened) == 3


def test_a_generated_set_is_looked_through_again_only_where_files_went(
    tmp_path, opened, monkeypatch
):
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path))
    tiny = catalogue.profile("tiny")
    counts = {"source": 2, "target": 2, "val": 1}
    sizes = {**tiny.image_size, "gta5": (96, 48)}
    small = tiny.model_copy(update={"image_size": sizes, "generated": counts})
    source = find_sources(catalogue.scenario("gta2cs"), small, None).source
    looks = []
    plain = scenes.ensure_dataset
    monkeypatch.setattr(
        scenes, "ensure_dataset", lambda *a, **k: (looks.append(a[0]), plain(*a, **k))[1]
    )
    dataset = source.open("train")
    assert source.open("train") is dataset
    assert looks == ["gta5"]
    dataset.samples[1].label.unlink()
    assert source.open("train").samples[1].label.is_file()
    assert looks == ["gta5", "gta5"]


def test_a_scenario_names_the_images_of_each_role(tmp_path, opened):
    """One data set, two domains: CamVid by day, and the two halves of its clip at dusk."""
    write_camvid(tmp_path, 3)
    day2dusk = catalogue.scenario("camvid_day2dusk")
    sources = find_sources(day2dusk, catalogue.profile("photo"), tmp_path)
    assert opened == [("camvid", "day"), ("camvid", "dusk_train"), ("camvid", "dusk_test")]
    day, adapted = sources.source.open("train"), sources.target.open("train")
    scored = sources.target.open("val")
    used = [{sample.image for sample in part.samples} for part in (day, adapted, scored)]
    assert len(set.union(*used)) == sum(map(len, used)) == 9
    assert (sources.source.ref.train_images, sources.target.ref.val_images) == (3, 3)


def test_the_scored_images_are_a_knob(tmp_path, opened):
    write_camvid(tmp_path, 3)
    scenario, profile = catalogue.scenario("gta2camvid"), catalogue.profile("tiny")
    assert find_target(scenario, profile, tmp_path).open("val").split == "test"
    on_val = scenario.model_copy(update={"eval_split": "val"})
    assert find_target(on_val, profile, tmp_path).open("val").split == "val"


def test_generated_sets_have_no_other_splits():
    scenario = catalogue.scenario("gta2cs").model_copy(update={"eval_split": "test"})
    with pytest.raises(DataError, match="cityscapes has no split 'test'; expected train or val"):
        find_sources(scenario, catalogue.profile("tiny"), None)


@pytest.mark.parametrize("change", ["images/00001.png", "labels/00002.png", "images"])
def test_a_set_is_opened_again_when_files_come_or_go(tmp_path, opened, change):
    folder = write_gta5(tmp_path, 2)
    before = datasets.open_once("gta5", tmp_path, "train")
    assert datasets.open_once("gta5", tmp_path, "train") is before
    if change == "images":
        street_file = folder / "images/00002.png"
        (folder / "images/00003.png").write_bytes(street_file.read_bytes())
    else:
        (folder / change).unlink()
    after = datasets.open_once("gta5", tmp_path, "train")
    assert after is not before
    assert len(after) == len(list((folder / "images").iterdir()))


def test_a_new_folder_of_images_is_seen(tmp_path, opened):
    folder = write_acdc(tmp_path, 2)
    before = datasets.open_once("acdc", tmp_path, "train")
    image = before.samples[0].image
    new = image.parent.with_name("NEW")
    new.mkdir()
    (new / image.name).write_bytes(image.read_bytes())
    assert new.is_relative_to(folder)
    assert len(datasets.open_once("acdc", tmp_path, "train")) == len(before) + 1


def test_a_list_of_frames_that_is_rewritten_is_read_again(tmp_path, opened):
    folder = write_camvid_colours(tmp_path, ["a", "b"], ("images", "labels"))
    (folder / "train.txt").write_text("a")
    assert len(datasets.open_once("camvid", tmp_path, "train")) == 1
    (folder / "train.txt").write_text("a\nb")
    os.utime(folder / "train.txt", ns=(0, 10**18))
    assert len(datasets.open_once("camvid", tmp_path, "train")) == 2


def test_a_folder_that_has_just_changed_is_not_trusted(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(datasets, "SETTLED_NS", 2 * 10**9)
    write_gta5(tmp_path, 1)
    first = datasets.open_once("gta5", tmp_path, "train")
    assert datasets.open_once("gta5", tmp_path, "train") is not first


def test_another_folder_of_the_same_set_is_another_set(tmp_path, opened):
    (tmp_path / "a").mkdir()
    write_gta5(tmp_path / "a", 1)
    write_gta5(tmp_path / "b", 2)
    (tmp_path / "gta").symlink_to(tmp_path / "a/gta5")
    assert len(datasets.open_once("gta5", tmp_path, "train")) == 1
    (tmp_path / "gta5").symlink_to(tmp_path / "b/gta5")
    assert len(datasets.open_once("gta5", tmp_path, "train")) == 2


@pytest.mark.parametrize(
    ("scale", "longest", "size"),
    [
        (None, 4096, (64, 48)),
        (None, 32, (32, 24)),
        (0.5, None, (32, 24)),
        (0.3, None, (19, 14)),
        (0.75, 40, (40, 30)),
        (0.001, None, (1, 1)),
    ],
)
def test_sets_without_an_entry_have_sizes_by_rule(tmp_path, scale, longest, size):
    write_gta5(tmp_path, 1, size=(64, 48))
    write_cityscapes(tmp_path, 1, 1)
    rules = {"image_scale": scale, "longest_side": longest, "image_size": {"cityscapes": (8, 4)}}
    profile = catalogue.profile("tiny").model_copy(update=rules)
    made = sized(catalogue.scenario("gta2cs"), profile, tmp_path)
    assert made.image_size == {"cityscapes": (8, 4), "gta5": size}


def test_a_set_without_entry_and_rule_is_refused_with_both_ways_out(tmp_path):
    write_gta5(tmp_path, 1)
    write_cityscapes(tmp_path, 1, 1)
    none = {"image_scale": None, "longest_side": None, "image_size": {}}
    profile = catalogue.profile("tiny").model_copy(update=none)
    scenario = catalogue.scenario("gta2cs")
    assert sized(scenario, profile, tmp_path).image_size == {}
    with pytest.raises(DataError, match=r"no image size for gta5; .* --set image_scale=0\.5"):
        find_sources(scenario, profile, tmp_path)
