"""A target without labels: what a run leaves there, and another set scored in its place."""

from __future__ import annotations

import json
import math
import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from bench_cli import bench, refused

from harness.data.datasets import Dataset, Sample
from harness.data.encodings import Labels
from harness.records import store
from harness.report.loggers import scores
from harness.runs.unlabelled import _tasks

MICRO = [
    "--profile", "tiny", "--student", "test_mit", "--set", "iterations=2", "--set", "crop=32,32",
    "--set", "workers=0", "--set", "warmup=1", "--set", "rcs_min_pixels=10",
]  # fmt: skip
DAFORMER = ["run", "--method", "daformer", *MICRO]


def write(folder: Path, values: list[int], labelled: bool = True) -> None:
    """Six images in two folders, in which each class has a grey, and their labels."""
    rng = np.random.default_rng(len(folder.name))
    for i in range(6):
        label = rng.choice(values, (6, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        below = Path(f"camera{i % 2}") / f"{i}.png"
        files = {folder / "images" / below: cv2.merge([label * 40] * 3)}
        files |= {folder / "labels" / below: label} if labelled else {}
        for file, pixels in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(file), pixels)
    bench("data", "new", folder.name, "--images", folder / "images",
          *(["--labels", folder / "labels"] if labelled else []))  # fmt: skip


def scenario(name: str, *more: str) -> str:
    lines = [f'{domain} = "{domain}.toml"' for domain in ("source", "target")]
    Path(f"{name}.toml").write_text("\n".join([*lines, *more]))
    return f"{name}.toml"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("source"), [0, 1, 2])
    write(Path("target"), [0, 1, 2], labelled=False)
    return tmp_path


def only_record() -> store.Record:
    (record,) = store.read_all(Path("runs/records"))
    return record


def test_a_run_leaves_label_free_figures_and_predictions(here):
    done = bench(*DAFORMER, "--scenario", scenario("plain"), "--set", "score_every=1")
    assert done.code == 0, done
    record = only_record()
    figures, last = record.metrics.label_free, record.metrics.curve.points[-1]
    assert figures.images == 6
    assert math.isnan(last.student.miou)
    for name in ("entropy", "infomax", "snd"):
        assert getattr(figures.student, name) == getattr(last.student, name)
        assert getattr(figures.ema_teacher, name) == getattr(last.ema_teacher, name)
    assert figures.agreement == last.agreement
    assert figures.student != figures.ema_teacher
    assert "oracle" not in record.metrics.curve.chosen

    predictions = Path(f"runs/artifacts/{record.spec.weights_id}/predictions-{record.run_id}")
    assert f"predictions of the target's images {predictions}" in done.out
    assert f"student entropy {figures.student.entropy:.3g}" in done.out
    assert "not scored, the target has no labels" in done.out
    predicted = bench(
        "predict", "target/images", "--checkpoint", record.run_id, "--out", "predicted"
    )
    assert predicted.code == 0, predicted
    files = {f.relative_to("predicted"): f.read_bytes() for f in Path("predicted").rglob("*.png")}
    assert len(files) == 7
    assert {f.relative_to(predictions): f.read_bytes() for f in predictions.rglob("*.png")} == files

    again = bench(*DAFORMER, "--scenario", "plain.toml")
    assert "is done" in again.out
    assert f"predictions of the target's images {predictions}" in again.out
    shown_without_labels(record)


def shown_without_labels(record: store.Record) -> None:
    """What shows records shows no figure that is none, and says why."""
    table = " ".join(bench("table").out.split())
    assert "The target has no labels to score on" in table
    assert "run it again" not in table
    told = scores(record)
    assert told["ema_teacher/entropy"] == record.metrics.label_free.ema_teacher.entropy
    assert all(math.isfinite(value) for value in told.values())
    hub = bench("export", "--checkpoint", record.run_id, "--hub", "hub", "--size", "64x64")
    assert hub.code == 0, hub
    card = Path("hub/README.md").read_text("utf-8")
    assert "model-index" not in yaml.safe_load(card.split("---\n", 2)[1])
    assert "nan" not in card
    assert bench("report", "--out", "site").code == 0
    assert "nan mIoU" not in Path(f"site/runs/{record.run_id}.html").read_text("utf-8")


def test_predictions_that_cannot_be_written_cost_no_run(here, monkeypatch):
    from harness.runs import unlabelled

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unlabelled, "predict", full)
    done = bench("run", "--method", "source_only", *MICRO, "--scenario", scenario("plain"))
    assert done.code == 0, done
    assert "not all predictions are in" in done.out
    assert "predictions of the target's images" not in done.out
    assert only_record().metrics.label_free.ema_teacher is None


def test_another_labelled_set_is_scored_in_its_place(here):
    """Whose classes have other names, one of them none here; weights are scored so too."""
    write(Path("other"), [0, 1, 2, 3])
    described = Path("other.toml")
    described.write_text(described.read_text("utf-8").replace('"class 2"', '"second"'))
    named = scenario(
        "scored", 'scored = "other.toml"', "[scored_classes]", '"second" = "class 2"',
        '"class 3" = "ignored"',
    )  # fmt: skip
    done = bench(*DAFORMER, "--scenario", named, "--set", "image_scale=0.5")
    assert done.code == 0, done
    record = only_record()
    assert record.spec.profile.image_size["other"] == (32, 24)
    assert record.spec.profile.image_scale is None
    metrics = record.metrics
    assert metrics.val_images == record.spec.target.val_images == 2
    labels = [cv2.imread(str(f), cv2.IMREAD_UNCHANGED) for f in scored_labels()]
    expected = [int(sum((label == value).sum() for label in labels)) for value in range(3)]
    assert np.array(metrics.student.confusion).sum(1).tolist() == expected
    assert list(metrics.student.iou) == ["class 0", "class 1", "class 2"]
    assert metrics.label_free.images == 6
    assert " % (all) on other" in done.out
    assert "without labels, on 6 target images" in done.out
    evaluated = bench(
        "eval", "--checkpoint", record.run_id, "--scenario", named, "--out", "scores.json"
    )
    assert "2 validation images of other at 32x24" in " ".join(evaluated.out.split()), evaluated
    evaluation = json.loads(Path("scores.json").read_text("utf-8"))
    assert evaluation["scores"]["confusion"] == metrics.student.confusion
    assert bench("export", "--checkpoint", record.run_id, "--hub", "hub", "--no-onnx").code == 0
    assert "On 2 images of other, val" in Path("hub/README.md").read_text("utf-8")


def scored_labels() -> list[Path]:
    """Of the six images of the other set, every fifth in their order."""
    files = sorted(Path("other/labels").rglob("*.png"))
    return [files[0], files[5]]


def test_images_of_one_name_have_predictions_of_their_own(tmp_path):
    names = ("a/1.jpg", "a/1.png", "b/1.png", "../beside/2.png")
    samples = [Sample(tmp_path / "set" / name, tmp_path / "none") for name in names]
    images = Dataset("set", "train", tmp_path / "set", samples, Labels((), None))
    out = tmp_path / "out"
    assert [os.path.relpath(task.out, out) for task in _tasks(images, out)] == [
        "set/a/1.jpg_palette.png",
        "set/a/1.png_palette.png",
        "set/b/1_palette.png",
        "beside/2_palette.png",
    ]


def test_the_dry_run_of_a_sweep_names_the_run_that_would_fail_there(here):
    name = scenario("plain")
    settings = [value for option, value in pairwise(MICRO) if option == "--set"]
    suite = {"profile": "tiny", "methods": ["source_only", "oracle"], "scenarios": [name]}
    suite |= {"students": ["test_mit"], "seeds": [0, 1], "overrides": settings}
    lines = ['question = "Q?"', *(f"{key} = {json.dumps(value)}" for key, value in suite.items())]
    Path("both.toml").write_text("\n".join(lines))
    outcome = bench("sweep", "both.toml", "--dry-run")
    assert outcome.code == 1, outcome
    text = " ".join(outcome.out.split())
    assert "2 trainings to do" in text
    assert "would fail: oracle test_mit, plain, seed 0 and 1 more: target has no labels in" in text
    assert not Path("runs").exists()
    Path("space.toml").write_text("lr = {choices = [0.1, 0.2]}")
    searched = bench(
        "search", "--method", "oracle", "--scenario", name, "--space", "space.toml",
        "--trials", "2", "--by", "entropy", *MICRO, "--dry-run",
    )  # fmt: skip
    assert searched.code == 2, searched
    assert "target has no labels in its train split" in searched.err


def test_a_source_without_labels_and_a_folder_that_moved_are_said_in_their_words(here):
    Path("turned.toml").write_text('source = "target.toml"\ntarget = "source.toml"\n')
    said = refused(bench("run", "--method", "dacs", "--scenario", "turned.toml", "--dry-run"))
    assert "its source target has no labels; expected some to learn from: bench data new" in said
    Path("target").rename("elsewhere")
    name = scenario("plain")
    said = refused(bench("run", "--method", "dacs", "--scenario", name, *MICRO, "--dry-run"))
    assert f"target: there is no folder {here / 'target'}; expected its images there" in said
    assert "correct `folder` in its file" in bench("data", "verify", "target.toml").out
