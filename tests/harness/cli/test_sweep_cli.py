"""`bench sweep`: order, reuse, and what one failing run stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bench_cli import SETTINGS, Outcome, bench, refused
from fake_records import fake_record
from rich.console import Console

from harness.cli import sweeps as sweeps_module
from harness.config import catalogue
from harness.config.planning import Request, resolve
from harness.config.suites import requests
from harness.errors import Interrupted
from harness.files import file_hash
from harness.records import store
from harness.report.progress import Reporter
from harness.runs import launchers
from harness.runs import sweep as sweep_module
from harness.runs.graph import mark_reused, plan_jobs, skip_orphans
from harness.runs.teachers import is_usable
from harness.runs.trained import Trained, finish
from harness.runs.workplace import Workplace

CONFIG = {
    "question": "Does the sweep work?",
    "methods": ["dualkd", "source_only"],
    "scenarios": ["gta2cs"],
    "students": ["test_mit"],
    "seeds": [0],
    "overrides": SETTINGS,
}


def suite_file(folder: Path, name: str = "quick", **changes) -> Path:
    path = folder / f"{name}.toml"
    # Strings and lists of strings are spelled alike in JSON and TOML.
    lines = (f"{key} = {json.dumps(value)}" for key, value in {**CONFIG, **changes}.items())
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def first(place, own_environment) -> Outcome:
    return bench("sweep", suite_file(place), "--jobs", "2", "--results", place / "results")


def test_the_frozen_teacher_is_a_run_of_its_own_and_comes_first(first, place):
    assert first.code == 0, first.out + first.err
    assert "quick: 3 runs, 0 done before" in first.out
    lines = [line for line in first.out.splitlines() if line.startswith("done:")]
    assert len(lines) == 3
    teacher = next(i for i, line in enumerate(lines) if "source_only mini_xs" in line)
    student = next(i for i, line in enumerate(lines) if "dualkd test_mit <- mini_xs" in line)
    assert teacher < student
    stored = store.read_all(place / "results/records")
    records = {(r.spec.method, r.spec.student): r for r in stored}
    sources = {("source_only", "mini_xs"), ("source_only", "test_mit")}
    assert set(records) == {*sources, ("dualkd", "test_mit")}
    assert records["dualkd", "test_mit"].cost.teachers[0].reused
    assert all(record.state == "done" for record in records.values())


def test_it_tells_where_its_data_comes_from_and_ends_in_a_table(first, place):
    assert "generated data: figures are not comparable with papers" in first.out.splitlines()[0]
    table = first.out[first.out.rindex("(0 left)") :]
    assert "dualkd" in table
    assert "source_only" in table
    last = first.out.splitlines()[-1]
    assert last.startswith(f"next: bench table --per-class --results {place / 'results'}; bench ")
    for command in last.removeprefix("next: ").replace("DIR", str(place / "site")).split("; "):
        assert bench(*command.split()[1:], "--help").code == 0


def test_the_table_of_a_suite_leaves_its_teachers_and_other_runs_out(first, place, tmp_path):
    other = suite_file(tmp_path, "other", methods=["source_only"])
    results = ["--results", place / "results", "--format", "json"]
    rows = [
        [
            (row["method"], row["student"])
            for grid in json.loads(outcome.out)["measured"]
            for row in grid["rows"]
        ]
        for outcome in (
            bench("table", *results),
            bench("table", "--suite", suite_file(place), *results),
            bench("table", "--suite", other, *results),
        )
    ]
    assert ("source_only", "mini_xs") in rows[0]
    assert rows[1] == [("source_only", "test_mit"), ("dualkd", "test_mit")]
    assert rows[2] == [("source_only", "test_mit")]


def test_done_runs_are_reused(first, place):
    before = {p: p.stat().st_mtime_ns for p in (place / "results").rglob("*.json")}
    again = bench("sweep", suite_file(place), "--results", place / "results")
    assert again.code == 0, again.err
    assert "quick: 3 runs, 3 done before" in again.out
    assert {p: p.stat().st_mtime_ns for p in (place / "results").rglob("*.json")} == before
    assert "dualkd" in again.out


def published_twin(first, place, folder: Path) -> Path:
    """A folder that publishes the sweep's dualkd run, with other figures."""
    records = store.read_all(place / "results/records")
    (record,) = (r for r in records if r.spec.method == "dualkd")
    scores = record.metrics.student.model_copy(update={"miou": 77.7})
    metrics = record.metrics.model_copy(update={"student": scores})
    made_by = {**record.provenance, "versions": {"torch": "9.9.9"}}
    made_by["code"] = {"commit": "c0ffee" * 6 + "beef", "dirty": False}
    twin = record.model_copy(update={"metrics": metrics, "provenance": made_by})
    store.write(twin, folder / "ablation/records")
    return folder


def test_published_runs_stand_in_a_table_of_their_own_below(first, place, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps_module, "PUBLISHED", published_twin(first, place, tmp_path))
    again = bench("sweep", suite_file(place), "--results", place / "results")
    assert again.code == 0, again.err
    own, title, theirs = again.out.partition("published (results/, commit c0ffeec, torch 9.9.9): ")
    assert title
    assert theirs.startswith("GTA5 -> Cityscapes, profile tiny")
    assert ("source_only " in own, "dualkd " in own, "77.7" in own) == (True, True, False)
    assert ("source_only " in theirs, "dualkd " in theirs, "77.7" in theirs) == (False, True, True)


def test_nothing_published_has_no_table(first):
    assert "published (" not in first.out


def test_the_published_records_themselves_are_shown_once(first, place, monkeypatch):
    monkeypatch.setattr(sweeps_module, "PUBLISHED", place / "results")
    again = bench("sweep", suite_file(place), "--results", place / "results")
    assert again.code == 0, again.err
    assert "published (" not in again.out


def test_a_failing_run_stops_itself_and_those_that_need_it_only(first, place):
    """Seed 1 is new; its frozen teacher diverges, the other runs of the suite go on."""
    broken = suite_file(
        place, "broken", seeds=[1], methods=["dualkd", "oracle"],
        overrides=[*SETTINGS, "loss_stride=1"],
    )  # fmt: skip
    plans = [resolve(request) for request in requests(catalogue.suite(str(broken)))]
    teacher = next(plan for plan in plans if plan.teachers).teachers[0].plan
    # A folder where the outcome of its training belongs: that run cannot write it.
    word = place / "results/artifacts" / teacher.spec.weights_id / "training.json"
    word.mkdir(parents=True)
    outcome = bench("sweep", broken, "--jobs", "2", "--results", place / "results")
    assert outcome.code == 1
    text = " ".join(outcome.out.split())
    assert "failed: source_only mini_xs, gta2cs, seed 1: IsADirectoryError" in text
    assert "skipped: dualkd test_mit <- mini_xs, gta2cs, seed 1: its frozen teacher failed" in text
    assert "done: oracle test_mit, gta2cs, seed 1" in text
    states = {
        (r.spec.method, r.state)
        for r in store.read_all(place / "results/records")
        if r.spec.seed == 1
    }
    assert states == {("source_only", "failed"), ("oracle", "done")}
    # Called again, only what is missing would run.
    again = bench("sweep", broken, "--results", place / "results", "--dry-run")
    assert again.code == 0, again.out
    assert "broken: 3 runs, 1 done before" in again.out
    assert "2 trainings to do" in again.out


def test_runs_are_the_product_and_teachers_multiply_only_those_that_have_one(tmp_path):
    path = suite_file(
        tmp_path, methods=["daformer", "dualkd"], students=["mini_xs", "mini_s"],
        teachers=["mini_m", "mini_l"], seeds=[0, 1],
    )  # fmt: skip
    asked = requests(catalogue.suite(str(path)))
    assert len([r for r in asked if r.method == "daformer"]) == 2 * 2
    assert len([r for r in asked if r.method == "dualkd"]) == 2 * 2 * 2
    assert {r.teacher for r in asked if r.method == "daformer"} == {None}


def methods_and_variants(suite: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(r.method, r.overrides[len(SETTINGS) :]) for r in requests(catalogue.suite(str(suite)))]


def test_a_variant_is_run_by_the_methods_that_have_its_knobs(tmp_path):
    path = suite_file(
        tmp_path, methods=["source_only", "daformer", "dualkd"],
        variants=[[], ["lambda_kd=2", "distance=kl"], ["ema_alpha=0.9"], ["lr=1e-3"]],
    )  # fmt: skip
    variants = methods_and_variants(path)
    plain = [variant for method, variant in variants if method == "source_only"]
    assert plain == [(), ("lr=1e-3",)]
    assert len([method for method, _ in variants if method == "daformer"]) == 3
    assert ("dualkd", ("lambda_kd=2", "distance=kl")) in variants
    assert len(variants) == 2 + 3 + 4


def test_a_knob_is_set_for_the_methods_that_have_it(tmp_path):
    path = suite_file(
        tmp_path, methods=["daformer", "dualkd"], overrides=[*SETTINGS, "lambda_kd=2"],
        variants=[[], ["lambda_kd=3"]],
    )  # fmt: skip
    variants = methods_and_variants(path)
    assert variants == [
        ("daformer", ()),
        ("dualkd", ("lambda_kd=2",)),
        ("dualkd", ("lambda_kd=2", "lambda_kd=3")),
    ]


def test_students_of_one_size_share_their_frozen_teacher(tmp_path):
    path = suite_file(tmp_path, methods=["dualkd"], teachers=["mini_m"], seeds=[0])
    both = suite_file(tmp_path, "both", methods=["dualkd"], teachers=["mini_m"], seeds=[0],
                      students=["mini_xs", "mini_s"])  # fmt: skip
    jobs = {
        p: plan_jobs([resolve(r) for r in requests(catalogue.suite(str(p)))]) for p in (path, both)
    }
    assert len(jobs[path]) == 2
    assert len(jobs[both]) == 3
    needs = [job.needs for job in jobs[both].values() if job.needs]
    assert needs[0] == needs[1]


def test_what_needs_a_failed_run_is_skipped(tmp_path):
    path = suite_file(tmp_path, methods=["dualkd"])
    jobs = plan_jobs([resolve(r) for r in requests(catalogue.suite(str(path)))])
    (teacher,) = (job for job in jobs.values() if not job.needs)
    (student,) = (job for job in jobs.values() if job.needs)
    skip_orphans(jobs)
    assert student.state == "waiting"
    teacher.state = "failed"
    skip_orphans(jobs)
    assert student.state == "skipped"
    assert "mini_xs" in student.error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["dafomer"]}, ["'dafomer'", "'daformer'"]),
        ({"scenarios": ["gta2city"]}, ["'gta2city'", "'gta2cs'"]),
        ({"students": ["mini_x"]}, ["'mini_x'"]),
        ({"overrides": ["iteration=4"]}, ["'iterations'"]),
        ({"variants": [["lambda_dk=4"]]}, ["'lambda_kd'"]),
        ({"variants": []}, ["quick.toml", "variants"]),
        ({"seed": [0]}, ["quick.toml", "seed"]),
        ({"methods": "dualkd"}, ["quick.toml", "methods"]),
    ],
    ids=str,
)
def test_a_mistake_in_a_suite_is_found_before_anything_runs(tmp_path, changes, words):
    path = suite_file(tmp_path, **changes)
    message = refused(bench("sweep", path, "--results", tmp_path / "results"))
    assert all(word in message for word in words), message
    assert not (tmp_path / "results").exists()


def write_outcome(folder: Path, made_by: dict) -> None:
    """A folder of trained weights, as a run leaves it."""
    training = fake_record().cost.training
    (folder / "student.safetensors").write_bytes(b"weights")
    outcome = Trained(
        run_id="0" * 10, network="mini_m", losses={}, parameters_m=1, training_parameters_m=1,
        weights_sha256={"student.safetensors": file_hash(folder / "student.safetensors")},
        training=training, teachers=[], made_by=made_by,
    )  # fmt: skip
    finish(outcome, folder)


def test_an_unknown_suite_is_refused_with_the_nearest(tmp_path):
    assert "'main'" in refused(bench("sweep", "mian", "--results", tmp_path))


def test_a_teacher_trained_for_another_target_is_not_trained_again(tmp_path):
    """A source-only run never sees the target: one teacher serves both scenarios of a source."""
    (tmp_path / "records").mkdir()
    plan = resolve(Request(method="dualkd", scenario="gta2cs"))
    (teacher,) = plan.teachers
    place = Workplace(tmp_path, torch.device("cpu"), Reporter(Console(quiet=True)))
    folder = place.weights(teacher.plan.spec.weights_id)
    jobs = plan_jobs([plan])
    mark_reused(jobs, place)
    assert {job.state for job in jobs.values()} == {"waiting"}
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    mark_reused(jobs, place)
    assert jobs[teacher.plan.spec.run_id].state == "waiting", "nothing says that it is whole"
    write_outcome(folder, place.made_by(teacher.plan))
    mark_reused(jobs, place)
    assert jobs[teacher.plan.spec.run_id].state == "reused"
    assert jobs[plan.spec.run_id].state == "waiting"


def test_a_teacher_whose_run_did_not_end_is_not_usable(tmp_path):
    """Its weights are whole, but its record, which a student's record quotes, is not there."""
    (teacher,) = resolve(Request(method="dualkd", scenario="gta2cs")).teachers
    workplace = Workplace(tmp_path, torch.device("cpu"), Reporter(Console(quiet=True)))
    folder = workplace.weights(teacher.plan.spec.weights_id)
    folder.mkdir(parents=True)
    write_outcome(folder, workplace.made_by(teacher.plan))
    assert not is_usable(teacher.plan, workplace)
    (folder / "run.json").write_text("{}")
    assert is_usable(teacher.plan, workplace)


#: Processes that a signal ends: one that waits, and one that it reaches while Python starts.
WAITS = "import time; print(1, flush=True); time.sleep(60)"
STARTS = (
    "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit(1)); "
    "print(1, flush=True); time.sleep(60)"
)


@pytest.mark.parametrize(
    ("number", "code", "ends_with"),
    [
        (signal.SIGINT, WAITS, -signal.SIGINT),
        (signal.SIGINT, STARTS, 1),
        (signal.SIGTERM, WAITS, -signal.SIGTERM),
        (signal.SIGUSR1, WAITS, -signal.SIGUSR1),
    ],
)
def test_an_interrupted_sweep_leaves_no_run_behind(tmp_path, monkeypatch, number, code, ends_with):
    started = []
    before = signal.getsignal(number)

    def start(*_, stdout, **options):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=stdout, **options)
        while not Path(stdout.name).stat().st_size:
            real_sleep(0.01)
        started.append(process)
        return process

    real_sleep, interrupted = time.sleep, []

    def interrupt(seconds):
        if interrupted or not started or started[0].poll() is not None:  # starts, ends sleep too
            real_sleep(seconds)
            return
        interrupted.append(number)
        assert signal.getsignal(number) is not before  # or it would end the tests
        signal.raise_signal(number)
        started[0].wait(timeout=30)

    monkeypatch.setattr(launchers, "subprocess", SimpleNamespace(Popen=start))
    monkeypatch.setattr(sweep_module, "prepare_data", lambda *_: None)
    monkeypatch.setattr(sweep_module.time, "sleep", interrupt)
    suite = catalogue.suite(str(suite_file(tmp_path)))
    with pytest.raises(Interrupted) as end:
        sweep_module.sweep(suite, tmp_path / "results", Reporter(Console(quiet=True)))
    assert end.value.exit_code == (130 if number == signal.SIGINT else 75)
    assert len(started) == 1
    # To Python's own handler SIGINT is an exception, which ends it by the signal too.
    assert started[0].wait(timeout=30) == ends_with
    assert signal.getsignal(number) is before
    assert not list((tmp_path / "results/records").glob("*.failed.json"))


def test_runs_that_share_their_weights_train_once(tmp_path):
    variants = [[], ["tta_flip=true"], ["tta_scales=1,0.5"]]
    path = suite_file(tmp_path, methods=["source_only"], variants=variants)
    jobs = plan_jobs([resolve(r) for r in requests(catalogue.suite(str(path)))])
    assert len(jobs) == 3
    assert len({job.plan.spec.weights_id for job in jobs.values()}) == 1
    (maker,) = (run_id for run_id, job in jobs.items() if job.trains)
    assert [job.needs for job in jobs.values() if not job.trains] == [{maker}] * 2
    path = suite_file(tmp_path, "two", methods=["source_only"], variants=variants[:2])
    outcome = bench("sweep", path, "--jobs", "2", "--results", tmp_path / "results")
    assert outcome.code == 0, outcome.out
    assert len(list((tmp_path / "results/artifacts").glob("*/student.safetensors"))) == 1
    assert len(store.read_all(tmp_path / "results/records")) == 2


def test_a_sweep_takes_seeds_settings_and_weights_and_says_what_it_would_be(tmp_path):
    path = suite_file(tmp_path, methods=["dualkd"])
    arguments = ["--seeds", "3,4", "--set", "loss_stride=2", "--results", tmp_path / "results"]
    outcome = bench("sweep", path, *arguments, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "quick: 4 runs, 0 done before" in outcome.out
    assert "4 trainings to do: about 0.0 hours" in outcome.out
    assert not (tmp_path / "results").exists()
    assert "seeds" in refused(bench("sweep", path, "--seeds", "x", "--dry-run"))
    missing = bench("sweep", path, "--init", tmp_path / "no.pth", "--dry-run")
    assert "no.pth" in refused(missing)
    made = {r.teacher_init for r in requests(catalogue.suite(str(path)).model_copy(
        update={"init": "a.pth", "teacher_init": "b.pth"}))}  # fmt: skip
    assert made == {"b.pth"}
