"""`bench check`: the faults that it must see, planted; and the runs of two revisions in turns."""

from __future__ import annotations

import subprocess
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_records import fake_cost, fake_record
from rich.console import Console

import harness.evaluation.scoring as scoring
import harness.runs.run as run_module
import harness.training.loop as loop
import methods.daformer as daformer
import methods.parts.losses as losses
from harness.analysis.baseline_speed import schedule_speed
from harness.analysis.regression import best, compare
from harness.config.replanning import replan
from harness.errors import BenchError, in_one_line
from harness.measure.environment import ROOT
from harness.measure.own_time import own_time
from harness.records import store
from harness.report.progress import Reporter
from harness.runs import check
from harness.runs.check import ROUNDS, _compare_in_turns
from harness.runs.revisions import checkout
from harness.runs.run import run
from harness.runs.workplace import Workplace, failed_record

BASELINE = ROOT / "results" / "baselines" / "ci.json"
METHODS = ("source_only", "daformer", "dualkd", "oracle")


@pytest.fixture(scope="module")
def again(tmp_path_factory, own_environment):
    """Runs a method of the ci baseline, ten steps of it, with hardly any timing of inference."""
    specs = {
        r.spec.method: r.spec for r in store.read_all(BASELINE) if r.spec.student == "test_mit"
    }
    quick = Reporter(Console(quiet=True))
    place = Workplace(tmp_path_factory.mktemp("runs"), torch.device("cpu"), quick, clock=own_time)
    whole = run_module.measure_inference

    def measure(name):
        short = {"iterations": 10, "teacher_iterations": 10}
        spec = specs[name]
        plan = replan(
            spec.model_copy(update={"profile": spec.profile.model_copy(update=short)}), None
        )
        try:
            return run(plan, place, fresh=True)
        except Exception as error:
            return failed_record(plan, in_one_line(error), place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "measure_inference", lambda *a, **k: whole(*a, **k, seconds=0.05))
        yield measure


@pytest.fixture(scope="module")
def clean(again):
    """A method's run without a fault, made where it is first asked for."""
    return cache(again)


def regressed(base, record):
    return {finding.quantity for finding in compare([base], [record]).of("regressed")}


SPEEDS = {"training speed", "inference speed"}


@pytest.mark.parametrize("name", METHODS)
def test_an_unchanged_run_holds(again, clean, name):
    assert clean(name).state == "done", clean(name).error
    assert clean(name).cost.training.timed_by == "own time"
    assert clean(name).cost.inference.timed_by == "own time"
    assert not regressed(clean(name), again(name)) - SPEEDS


def _road_is_ignored(prediction, label, classes, plain=scoring.confusion):
    return plain(prediction, label.where(label != 0, 255), classes)


def _ignored_is_road(prediction, label, classes, plain=scoring.confusion):
    return plain(prediction, label.where(label != 255, 0), classes)


def _ignored_as_a_class(*args, **options):
    logits, label = args
    options.pop("ignore_index")
    return torch.nn.functional.cross_entropy(logits, label.where(label != 255, 0), **options)


FAULTS = {
    "the loss ignores 254": (losses, "IGNORE", 254, {"run"}),
    "the loss counts ignored pixels as road": (
        losses,
        "F",
        SimpleNamespace(
            cross_entropy=_ignored_as_a_class, interpolate=torch.nn.functional.interpolate
        ),
        {"loss source", "loss target"},
    ),
    "the metric counts ignored pixels as road": (
        scoring,
        "confusion",
        _ignored_is_road,
        {"scored labels"},
    ),
    "the metric ignores road": (scoring, "confusion", _road_is_ignored, {"scored labels"}),
}


#: The loss on the source's labels, which the others share, and the oracle's on the target's.
#: The metric is the same code for all.
SEEN_BY = [
    (fault, name)
    for fault in FAULTS
    for name in ("source_only", "oracle")
    if fault.startswith("the loss") or name == "source_only"
]


@pytest.mark.parametrize(("fault", "name"), SEEN_BY)
def test_a_wrong_ignore_index_is_seen(again, clean, monkeypatch, fault, name):
    module, attribute, value, quantities = FAULTS[fault]
    base = clean(name)
    monkeypatch.setattr(module, attribute, value)
    assert regressed(base, again(name)) & quantities


@pytest.mark.parametrize("name", ["daformer", "dualkd"])
def test_a_change_of_mixing_is_seen(again, clean, monkeypatch, name):
    base, plain = clean(name), daformer.class_mask
    monkeypatch.setattr(
        daformer, "class_mask", lambda label, drawn: plain(label, [image[:1] for image in drawn])
    )
    assert "loss mixed" in regressed(base, again(name))


@pytest.mark.parametrize("name", ["source_only", "dualkd"])
def test_a_slow_step_and_a_leak_are_seen(again, clean, monkeypatch, name):
    """By the run whose steps take least, and by the one whose take most."""
    kept, base = [], clean(name)
    step = loop.Trainer.step
    seconds = base.spec.profile.batch_size / schedule_speed(base.cost.training)

    def worse(self, batches, number):
        kept.extend((batches[0].source_image.clone(), batches[0].target_image.clone()))
        time.sleep(1.5 * seconds)
        return step(self, batches, number)

    monkeypatch.setattr(loop.Trainer, "step", worse)
    assert {"training speed", "held tensors"} <= regressed(base, again(name))


def test_a_slowdown_of_mixing_alone_is_seen(again, clean, monkeypatch):
    """It takes 40 % of the steps: their median does not show it."""
    base, step = clean("daformer"), loop.Trainer.step
    spec = base.spec.profile
    seconds = spec.batch_size / schedule_speed(base.cost.training)

    def worse(self, batches, number):
        if number >= 0.6 * spec.iterations:
            time.sleep(3 * seconds)
        return step(self, batches, number)

    monkeypatch.setattr(loop.Trainer, "step", worse)
    assert "training speed" in regressed(base, again("daformer"))


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("old")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    (folder / "code.py").write_text("new")
    return folder


def test_a_revision_is_written_as_it_was_committed(repository, tmp_path):
    assert checkout("HEAD", tmp_path / "code", repository) == git(repository, "rev-parse", "HEAD")
    assert (tmp_path / "code" / "code.py").read_text() == "old"
    assert git(repository, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize("revision", ["nowhere", "--all", "HEAD~5"])
def test_an_unknown_revision_is_the_users_error(repository, tmp_path, revision):
    with pytest.raises(BenchError, match="no such revision"):
        checkout(revision, tmp_path / "code", repository)


def test_a_folder_that_git_does_not_know_is_named(repository, tmp_path):
    inside = repository / "inside"
    inside.mkdir()
    for folder in (tmp_path, inside):
        with pytest.raises(BenchError, match="not a git checkout"):
            checkout("HEAD", tmp_path / "code", folder)


def test_both_are_measured_in_turns_and_the_best_of_each_counts():
    speeds = {"old": [30.0, 40.0, 20.0], "new": [10.0, 10.0, 39.0]}
    asked = []

    def measure(name):
        record = fake_record(cost=fake_cost(images_per_second=speeds[name][len(asked) // 2]))
        asked.append(name)
        return record

    findings = _compare_in_turns(fake_record().spec, ["old", "new"], measure)
    assert asked == ["old", "new"] * ROUNDS
    assert {finding.verdict for finding in findings} == {"holds"}
    (speed,) = [f for f in findings if f.quantity == "training speed"]
    assert speed.detail.startswith("40 -> 39 img/s")


def test_speed_that_stays_off_is_measured_twice_as_often():
    asked = []

    def measure(name):
        asked.append(name)
        return fake_record(cost=fake_cost(images_per_second=40.0 if name == "old" else 20.0))

    findings = _compare_in_turns(fake_record().spec, ["old", "new"], measure)
    assert asked == ["old", "new"] * (2 * ROUNDS)
    assert [f.quantity for f in findings if f.verdict == "regressed"] == ["training speed"]


@pytest.mark.parametrize(("broken", "verdict"), [("old", "not measured"), ("new", "regressed")])
def test_a_side_without_a_record_is_named(broken, verdict):
    (finding,) = _compare_in_turns(
        fake_record().spec,
        ["old", "new"],
        lambda name: "exit code 1: no such knob" if name == broken else fake_record(),
    )
    assert finding.verdict == verdict
    assert finding.detail == f"{broken}: exit code 1: no such knob"


def test_the_best_of_several_runs_is_taken_figure_by_figure():
    records = [
        fake_record(cost=fake_cost(images_per_second=speed, memory_mib=memory))
        for speed, memory in ((30.0, 900.0), (20.0, 800.0))
    ]
    cost = best(records).cost
    assert (cost.training.images_per_second, cost.training.memory_mib) == (30.0, 800.0)


def test_each_revision_runs_with_its_own_code(tmp_path, monkeypatch):
    code = tmp_path / "code"
    (code / "harness").mkdir(parents=True)
    spec, results = fake_record().spec, tmp_path / "results"
    assert "no worker" in check._run_with(code, spec, results, None, None)
    (code / "harness" / "worker.py").write_text("import sys; sys.exit('it is ' + __file__)")
    (code / "harness" / "__init__.py").write_text("")
    said = check._run_with(code, spec, results, None, None)
    assert said == f"exit code 1: it is {code / 'harness' / 'worker.py'}"
