"""The data page's way from photographs and masks to a table, with its own files and commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bench_cli import bench, refused
from documented import commands, files, page

from harness.config import catalogue
from harness.records import store

#: Appended to every run: four steps of the smallest network.
MICRO = [
    "--student", "test_mit", "--set", "iterations=4", "--set", "crop=32,64", "--set", "workers=0",
    "--set", "warmup=1", "--set", "rcs_min_pixels=10",
]  # fmt: skip
TEXT = page("docs/data.md").partition("## Use your own")[2].partition("## Add a set")[0]


def write(folder: Path, values: list[int], labels: bool = True, images: int = 6) -> None:
    """Photographs in which each class has a colour, and their masks."""
    rng = np.random.default_rng(len(folder.name))
    for i in range(images):
        mask = np.full((48, 64), values[0], np.uint8)
        for value in values[1:]:
            top, left = rng.integers(0, 32), rng.integers(0, 40)
            mask[top : top + 16, left : left + 24] = value
        grey = mask.astype(int)
        image = np.stack([grey * k % 200 for k in (37, 91, 53)], -1)
        image = (image + rng.integers(0, 30, image.shape)).astype(np.uint8)
        photos = folder / "photos" if labels else folder
        for file, pixels in (
            (photos / f"img_{i:03d}.jpg", image),
            (folder / "masks" / f"img_{i:03d}_mask.png", mask),
        ):
            if file.suffix == ".jpg" or labels:
                file.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(file), pixels)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("summer", "winter"):
        write(Path(name), [0, 1, 2, 3, 4])
    for name in ("before", "after"):
        write(Path(name), [0, 255])
    write(Path("street"), [0, 1, 2, 3, 4], labels=False)
    for name, text in files(TEXT).items():
        Path(name).write_text(text)
    return tmp_path


def carry_out(*about: str) -> str:
    """The page's commands on these files, in their order, then its table -> what that prints."""
    said = ""
    shown = [words for _, *words in commands(TEXT)]
    chosen = [words for words in shown if any(name in word for name in about for word in words)]
    assert ["table"] in shown
    for words in (*chosen, ["table"]):
        done = bench(*words, *(MICRO if words[0] == "run" else ()))
        assert done.code == 0, (words, done.out, done.err)
        said = done.out
    return said


def records() -> dict[str, store.Record]:
    return {record.spec.method: record for record in store.read_all(Path("runs/records"))}


def test_five_classes_of_ones_own_become_a_table_of_three_methods(here):
    table = carry_out("summer", "winter", "fields")
    for method in ("source_only", "dacs", "daformer"):
        assert method in table
        scores = records()[method].metrics.student
        assert list(scores.iou) == [f"class {i}" for i in range(5)]
        assert np.array(scores.confusion).shape == (5, 5)
        assert scores.miou == scores.conventions["all"]
    assert str(here) not in records()["dacs"].model_dump_json()


def test_a_binary_task_scores_both_classes(here):
    carry_out("before", "after", "flood")
    scores = records()["source_only"].metrics.student
    assert list(scores.iou) == ["background", "foreground"]
    assert scores.miou == pytest.approx(np.nanmean([v or 0 for v in scores.iou.values()]), abs=0.01)


def test_a_runs_own_scenario_is_found_by_its_file_or_asked_for(here, monkeypatch):
    carry_out("before", "after", "flood")
    run_id = records()["source_only"].run_id
    asked = ["eval", "--checkpoint", run_id, "--results", here / "runs", "--format", "json"]
    scores = records()["source_only"].metrics.student
    assert json.loads(bench(*asked).out)["scores"]["miou"] == pytest.approx(scores.miou, abs=0.01)
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    for more in ([], ["--on", "after"]):
        said = refused(bench(*asked, *more))
        assert "after is a data set of your own" in said
        assert "flood.toml" in said
        assert "--scenario FILE.toml" in said
    done = bench(*asked, "--scenario", here / "flood.toml")
    assert done.code == 0, done.err
    # Another's file of that name is not taken for the run's.
    Path("flood.toml").write_text((here / "fields.toml").read_text())
    assert "after is a data set of your own" in refused(bench(*asked))


def test_a_target_without_labels_is_not_scored(here):
    bench("data", "new", "summer", "--images", "summer/photos", "--labels", "summer/masks")
    table = carry_out("street")
    assert records()["daformer"].spec.target.val_images == 0
    assert np.isnan(records()["daformer"].metrics.student.miou)
    assert " - " in table
    assert "no labels to score on" in refused(
        bench(
            "eval",
            "--checkpoint",
            records()["daformer"].run_id,
            "--scenario",
            "street_scenario.toml",
        )
    )


def test_a_dry_run_refuses_what_the_run_refuses(here):
    for name in ("summer", "winter"):
        bench("data", "new", name, "--images", f"{name}/photos", "--labels", f"{name}/masks")
    bench("data", "new", "street", "--images", "street")
    Path("empty.pth").write_bytes(b"")
    tiny = ["--profile", "tiny", *MICRO]
    words = {
        "street has no labels in its train split; expected": [
            *("--method", "oracle", "--scenario", "street_scenario.toml"),
        ],
        "--teacher-checkpoint empty.pth is empty: expected weights": [
            *("--method", "dualkd", "--scenario", "fields.toml"),
            *("--teacher-checkpoint", "empty.pth"),
        ],
        "duda: --teacher-checkpoint empty.pth is empty: expected weights": [
            *("--method", "duda", "--scenario", "fields.toml"),
            *("--teacher-checkpoint", "empty.pth"),
        ],
        "winter (train) has 1 problem": ["--method", "oracle", "--scenario", "fields.toml"],
    }
    for said, of_run in words.items():
        if said.startswith("winter"):
            Path("winter/masks/img_001_mask.png").write_bytes(b"no PNG")
        outcomes = [bench("run", *of_run, *tiny, *more) for more in ((), ("--dry-run",))]
        assert all(outcome.code == 2 for outcome in outcomes), said
        assert all(said.removeprefix("duda: ") in outcome.err for outcome in outcomes)
    assert not Path("runs/artifacts").exists()


def test_a_target_without_labels_is_scored_while_learning_by_what_needs_none(here):
    bench("data", "new", "summer", "--images", "summer/photos", "--labels", "summer/masks")
    bench("data", "new", "street", "--images", "street")
    for method in ("source_only", "dacs"):
        words = ["--method", method, "--scenario", "street_scenario.toml", "--profile", "tiny"]
        done = bench("run", *words, *MICRO, "--set", "score_every=2")
        assert done.code == 0, done.err
    curve = records()["dacs"].metrics.curve
    assert [point.step for point in curve.points] == [2, 4]
    assert all(np.isnan(point.student.miou) for point in curve.points)
    assert all(point.student.entropy > 0 for point in curve.points)
    assert set(curve.chosen) == {"last", "entropy", "infomax", "snd", "agreement"}


def test_own_sets_are_cached_by_their_files(here):
    bench("data", "new", "summer", "--images", "summer/photos", "--labels", "summer/masks")
    bench("data", "new", "street", "--images", "street")
    said = bench("data", "cache", "street_scenario.toml", "--profile", "tiny", "--dry-run")
    assert said.code == 0, said.err
    assert "summer train in 64 x 48, raw: 8 files" in said.out
    assert "street train in 64 x 48, raw: 6 files" in said.out
    assert "street val" not in said.out
    alone = bench("data", "cache", "summer.toml", "--dry-run")
    assert "summer val in 64 x 48, raw: 2 files" in alone.out
    assert "of your own, copy" in refused(
        bench("subset", "--scenario", "street_scenario.toml", "--out", "few")
    )


def test_no_verb_plans_weeks_on_a_cpu_unasked(here, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("summer", "winter"):
        bench("data", "new", name, "--images", f"{name}/photos", "--labels", f"{name}/masks")
    words = ["--method", "source_only", "--scenario", "fields.toml", *MICRO]
    done = bench("run", *words)
    assert done.code == 0, done.err
    assert done.out.startswith("profile photo, as none was named and there is no GPU")
    assert "warning" not in done.err
    assert records()["source_only"].spec.profile.name == "photo"
    for asked in (("run", *words, "--dry-run"), ("data", "cache", "fields.toml", "--dry-run")):
        assert "profile photo, as none was named" in bench(*asked).out
    assert "profile photo, as none was named" not in bench("run", *words, "--profile", "tiny").out


def test_info_shows_what_data_new_wrote_and_the_scenario_of_it(here):
    for name in ("summer", "winter"):
        bench("data", "new", name, "--images", f"{name}/photos", "--labels", f"{name}/masks")
    bench("data", "new", "street", "--images", "street")
    shown = bench("info", "summer.toml", "--format", "plain")
    assert shown.code == 0, shown.err
    assert "summer (data set)" in shown.out
    assert "splits: train, val" in shown.out
    assert "classes: class 0, class 1" in shown.out
    assert "`bench data verify summer.toml`" in shown.out
    assert "it has no labels" in bench("info", "street.toml", "--format", "plain").out
    scenario = bench("info", "fields.toml", "--format", "plain").out
    assert (
        "source\tsummer\tdata set with labels: a shipped one, such as gta5, or your own" in scenario
    )
    assert "datasets\tsummer,winter" in scenario
    Path("neither.toml").write_text("a = 1")
    assert "data sets have layouts" in refused(bench("info", "neither.toml"))


def test_two_sets_of_one_name_are_refused(here):
    bench("data", "new", "summer", "--images", "summer/photos", "--labels", "summer/masks")
    write(Path("other/summer"), [0, 1, 2, 3, 4])
    Path("other/summer.toml").write_text(Path("summer.toml").read_text())
    Path("same.toml").write_text('source = "summer.toml"\ntarget = "other/summer.toml"\n')
    said = refused(bench("run", "--method", "dacs", "--scenario", "same.toml"))
    assert "two data sets of this scenario are called summer" in said


def test_classes_that_no_scenario_names_are_refused(here):
    for name in ("summer", "winter"):
        bench("data", "new", name, "--images", f"{name}/photos", "--labels", f"{name}/masks")
    scenario = Path("fields.toml")
    text = scenario.read_text() + 'classes = ["class 0", "other"]\n'
    scenario.write_text(text)
    said = refused(bench("run", "--method", "source_only", "--scenario", "fields.toml"))
    assert "class 1, class 2, class 3, class 4" in said
    tables = (
        '[source_classes]\n"*" = "other"\n[target_classes]\n"class 1" = "ignored"\n"*" = "other"\n'
    )
    scenario.write_text(text + tables)
    arguments = ["run", "--method", "source_only", "--scenario", "fields.toml", "--profile", "tiny"]
    assert bench(*arguments, *MICRO).code == 0
    assert list(records()["source_only"].metrics.student.iou) == ["class 0", "other"]


def test_pictures_of_ones_own_data_are_drawn_wherever_it_lies_now(here):
    for name in ("summer", "winter"):
        bench("data", "new", name, "--images", f"{name}/photos", "--labels", f"{name}/masks")
    arguments = ["--method", "source_only", "--scenario", "fields.toml", "--profile", "tiny"]
    assert bench("run", *arguments, *MICRO).code == 0
    Path("winter").rename("moved")
    for name in ("winter", "summer"):  # what lies in them stays as it is, their names do not
        Path(f"{name}.toml").unlink()
    assert "found no winter" in refused(bench("plot", "qualitative", "--data-root", here))
    drawn = bench("plot", "qualitative", "--data-root", "moved", "--out", "q.png")
    assert drawn.code == 0, drawn.err
    assert Path("q.png").stat().st_size > 1000
    site = bench("report", "--with-images", "--data-root", "moved", "--out", "site")
    assert site.code == 0, site.err
    assert len(list(Path("site/runs").glob("*-prediction.png"))) == 2


def test_a_runs_own_data_is_scored_by_its_name(here, monkeypatch):
    for name in ("summer", "winter"):
        bench("data", "new", name, "--images", f"{name}/photos", "--labels", f"{name}/masks")
    arguments = ["--method", "source_only", "--scenario", "fields.toml", "--profile", "tiny"]
    assert bench("run", *arguments, *MICRO).code == 0
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {})  # as in a later call
    run = records()["source_only"].run_id
    done = bench("eval", "--checkpoint", run, "--on", "winter,summer:train", "--data-root", here)
    assert done.code == 0, done.err
    assert "winter: 2 images at 64x48, the scenario's target." in done.out
    assert "summer train: 4 images at 64x48, the scenario's source." in done.out


def test_the_bars_of_shares_begin_below_one_another(here):
    bench("data", "new", "summer", "--images", "summer/photos", "--labels", "summer/masks")
    said = bench("data", "stats", "summer.toml")
    assert said.code == 0, said.err
    rows = [line for line in said.out.splitlines() if line.strip().startswith("class ")]
    bars = [[m.start() for m in re.finditer(r"(?<![█▏])[█▏]+", row)] for row in rows]
    starts = {tuple(found) for found in bars if len(found) == 2}
    assert len(starts) == 1
    assert len({len(row[starts_at:].split()[0]) for row in rows for starts_at in min(starts)}) > 1
