"""A run's stages: what a failure keeps, and that the same command goes on from there."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bench_cli import QUICK, SETTINGS, bench, refused
from rich.console import Console

from harness.analysis.regression import best, compare
from harness.config.planning import Request, resolve
from harness.errors import BenchError, Interrupted
from harness.records import store
from harness.report.progress import Reporter
from harness.runs import run as stages
from harness.runs.stage import stage
from harness.runs.teachers import is_usable
from harness.runs.workplace import Workplace
from harness.weights.find import OUTCOME

DAFORMER = ["run", "--method", "daformer", "--scenario", "gta2cs", *QUICK]


def only_folder(results: Path) -> Path:
    (folder,) = (p for p in (results / "artifacts").iterdir() if (p / "log.jsonl").exists())
    return folder


def reproducible(metrics):
    """Without the memory that tensors held: this process holds those of other tests too."""
    return metrics.model_copy(update={"golden": metrics.golden.losses})


def break_stage(monkeypatch, name: str, error: BaseException) -> None:
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(stages, name, broken)


@pytest.mark.parametrize(
    ("stage", "words"),
    [("score", "scoring"), ("Cost", "measuring"), ("environment.collect", "record")],
)
def test_what_fails_after_training_loses_no_training(
    stage, words, made_once, tmp_path, monkeypatch
):
    with monkeypatch.context() as broken:
        error = OSError(28, "No space left on device")
        if stage == "environment.collect":
            broken.setattr(stages, "_keep_record", lambda *_: (_ for _ in ()).throw(error))
        else:
            break_stage(broken, stage, error)
        outcome = bench(*DAFORMER, "--results", tmp_path)
    assert "No space left" in refused(outcome)
    folder = only_folder(tmp_path)
    kept = next(line for line in outcome.out.splitlines() if line.startswith("failed while"))
    assert words in kept
    assert str(folder) in kept
    assert "the same command goes on" in kept
    (failed,) = store.read_all(tmp_path / "records")
    assert failed.state == "failed"
    log = (folder / "log.jsonl").stat().st_mtime_ns
    again = bench(*DAFORMER, "--results", tmp_path)
    assert again.code == 0, again.err
    assert "trained before, used again" in again.out
    assert (folder / "log.jsonl").stat().st_mtime_ns == log, "not trained a second time"
    (record,) = store.read_all(tmp_path / "records")
    assert record.state == "done"
    undisturbed = made_once("daformer").results
    (same,) = store.read_all(undisturbed / "records")
    assert reproducible(record.metrics) == reproducible(same.metrics)
    assert {p.name for p in folder.iterdir()} == {
        p.name for p in only_folder(undisturbed).iterdir()
    }


def test_scores_are_kept_where_measuring_is_interrupted(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        break_stage(broken, "gflops", KeyboardInterrupt())
        assert bench(*DAFORMER, "--results", tmp_path).code == 130
    with monkeypatch.context() as broken:
        break_stage(broken, "score", AssertionError("scored again"))
        assert bench(*DAFORMER, "--results", tmp_path).code == 0


def test_a_log_and_figures_that_cannot_be_had_end_no_run(made_once, tmp_path, monkeypatch):
    """All at once: each is said in a line, and a table shows what is not there as such."""
    undisturbed = made_once("daformer").results
    (whole,) = store.read_all(undisturbed / "records")
    log = tmp_path / "artifacts" / whole.spec.weights_id / "log.jsonl"
    log.mkdir(parents=True)
    break_stage(monkeypatch, "gflops", RuntimeError("no operations"))
    break_stage(monkeypatch, "measured_speed", BenchError("no speed"))
    outcome = bench(*DAFORMER, "--results", tmp_path)
    assert outcome.code == 0, outcome.err
    for said in ("the log could not be written", "(RuntimeError: no operations)", "no speed)"):
        assert outcome.out.count(said) == 1, said
    (record,) = store.read_all(tmp_path / "records")
    assert record.cost.gflops is None
    assert record.cost.inference is None
    assert reproducible(record.metrics) == reproducible(whole.metrics)
    for format_ in ("rich", "markdown", "latex", "csv", "json", "html"):
        table = bench("table", "--results", tmp_path, "--format", format_)
        assert table.code == 0, table.err
    verdicts = {f.quantity: f.verdict for f in compare([whole], [record]).findings}
    assert verdicts["inference speed"] == "regressed"
    verdicts = {f.quantity: f.verdict for f in compare([record], [whole]).findings}
    assert verdicts["inference speed"] == "not compared"
    assert best([whole, record]).cost.inference == whole.cost.inference
    assert best([record]).cost.inference is None


def test_a_record_holds_the_threads_that_computed_and_its_failed_one_too(tmp_path, monkeypatch):
    run = ["run", "--method", "source_only", "--scenario", "gta2cs", *QUICK, "--set", "threads=2"]
    with monkeypatch.context() as broken:
        break_stage(broken, "score", RuntimeError("no scores"))
        refused(bench(*run, "--results", tmp_path))
    (failed,) = store.read_all(tmp_path / "records")
    assert bench(*run, "--results", tmp_path).code == 0
    (done,) = store.read_all(tmp_path / "records")
    for record, state in ((failed, "failed"), (done, "done")):
        assert record.state == state
        assert record.provenance["flags"]["torch_threads"] == 2


@pytest.mark.parametrize("leave", [lambda *_: sys.exit(0), lambda *_: os._exit(0)])
def test_a_process_that_a_method_ends_has_failed(leave, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "train", leave)
    assert "ended the process" in refused(bench(*DAFORMER, "--results", tmp_path))
    (record,) = store.read_all(tmp_path / "records")
    assert record.state == "failed"


def test_ctrl_c_says_what_is_kept(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        break_stage(broken, "score", KeyboardInterrupt())
        outcome = bench(*DAFORMER, "--results", tmp_path)
    assert outcome.code == 130
    assert "interrupted while scoring: the trained weights are kept" in outcome.out
    assert not list((tmp_path / "records").glob("*")), "an interrupted run has not failed"


def test_a_full_disk_at_the_weights_costs_no_score(made_once, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        break_stage(broken, "keep", OSError(28, "No space left on device"))
        outcome = bench(*DAFORMER, "--results", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "the weights could not be written" in outcome.out
    (record,) = store.read_all(tmp_path / "records")
    (known,) = store.read_all(made_once("daformer").results / "records")
    assert reproducible(record.metrics) == reproducible(known.metrics)
    assert "next: bench predict" not in outcome.out
    assert not (only_folder(tmp_path) / OUTCOME).exists()


def test_a_disk_without_room_for_the_weights_is_refused_before_training(
    made_once, tmp_path, monkeypatch
):
    made_once("daformer").copy_to(tmp_path)
    before = {path.name for path in only_folder(tmp_path).iterdir()}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    outcome = bench(*DAFORMER, "--fresh", "--results", tmp_path)
    said = refused(outcome)
    assert "0.0 MiB are free on its disk" in said
    assert "--results" in said
    assert "2/4" not in outcome.out
    assert before <= {path.name for path in only_folder(tmp_path).iterdir()}


def test_weights_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def half(network, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.runs.trained.save_weights", half)
    assert bench(*DAFORMER, "--results", tmp_path).code == 0
    assert {path.name for path in only_folder(tmp_path).iterdir()} == {"log.jsonl", ".lock"}


def test_the_ema_teacher_of_an_own_run_is_scored(made_once):
    results = made_once("daformer").results
    (record,) = store.read_all(results / "records")
    for part, scores in (
        ("student", record.metrics.student),
        ("ema", record.metrics.ema_teacher),
    ):
        outcome = bench(
            "eval", "--checkpoint", record.run_id, "--part", part, "--format", "json",
            "--results", results,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        evaluation = json.loads(outcome.out)
        assert evaluation["part"] == part
        assert evaluation["scores"]["confusion"] == scores.confusion
    plain = made_once("source_only").results
    (record,) = store.read_all(plain / "records")
    arguments = ["--checkpoint", record.run_id, "--part", "ema", "--results", plain]
    assert "no ema_teacher.safetensors" in refused(bench("eval", *arguments))


def test_a_done_run_is_shown_and_fresh_trains_it_again(made_once, tmp_path):
    first = made_once("daformer").outcome
    made_once("daformer").copy_to(tmp_path)
    log = only_folder(tmp_path) / "log.jsonl"
    before = log.stat().st_mtime_ns
    again = bench(*DAFORMER, "--results", tmp_path)
    assert again.code == 0
    assert "is done" in again.out.splitlines()[0]
    own = next(line for line in first.out.splitlines() if line.startswith("daformer, gta2cs"))
    assert own in again.out
    assert log.stat().st_mtime_ns == before
    assert bench(*DAFORMER, "--fresh", "--results", tmp_path).code == 0
    assert log.stat().st_mtime_ns != before


def test_weights_and_records_of_other_code_are_not_used_in_silence(made_once, tmp_path):
    made_once("daformer").copy_to(tmp_path)
    folder = only_folder(tmp_path)
    log = folder / "log.jsonl"
    for path in (folder / OUTCOME, *(tmp_path / "records").glob("*.json")):
        content = json.loads(path.read_text())
        if "made_by" in content:
            content["made_by"]["code"] = "0123456789"
        else:
            content["provenance"]["code"]["fingerprint"] = "0123456789"
        path.write_text(json.dumps(content))
    before = log.stat().st_mtime_ns
    kept = bench(*DAFORMER, "--keep-other-code", "--results", tmp_path)
    assert "was done by other code" in kept.out
    assert log.stat().st_mtime_ns == before
    again = bench(*DAFORMER, "--results", tmp_path)
    assert "run again" in again.out
    assert "trained by other code" in again.out
    assert log.stat().st_mtime_ns != before


def teacher_weights(results: Path) -> Path:
    teacher = next(r for r in store.read_all(results / "records") if r.spec.student == "mini_xs")
    return results / "artifacts" / teacher.spec.weights_id / "student.safetensors"


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def test_weights_that_the_last_update_broke_are_no_result(tmp_path):
    """The loss before it is still good."""
    broken = ["--set", "iterations=1", "--set", "lr=1e38", "--set", "warmup=0"]
    outcome = bench(
        *("run", "--method", "source_only", "--scenario", "gta2cs", *QUICK, *broken),
        *("--results", tmp_path),
    )
    assert "by the end of training" in refused(outcome)
    assert "failed while training: nothing is kept" in outcome.out
    (record,) = store.read_all(tmp_path / "records")
    assert record.state == "failed"
    assert not list(tmp_path.rglob("*.safetensors"))


DAMAGE = {
    "cut short": cut_short,
    "gone": Path.unlink,
    "no word of it": lambda weights: weights.with_name(OUTCOME).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_half_written_teacher_is_not_usable(damage, made_once, tmp_path):
    made_once("dualkd").copy_to(tmp_path)
    (teacher,) = resolve(
        Request(method="dualkd", scenario="gta2cs", student="test_mit", overrides=tuple(SETTINGS))
    ).teachers
    workplace = Workplace(tmp_path, torch.device("cpu"), Reporter(Console(quiet=True)))
    assert is_usable(teacher.plan, workplace)
    DAMAGE[damage](teacher_weights(tmp_path))
    assert not is_usable(teacher.plan, workplace)


def test_a_frozen_teachers_broken_record_costs_its_own_score_alone(made_once, tmp_path):
    made_once("dualkd").copy_to(tmp_path)
    teacher_weights(tmp_path).with_name("run.json").write_text('{"schema_version": 1, "ru')
    arguments = ["run", "--method", "dualkd", "--scenario", "gta2cs", *QUICK]
    outcome = bench(*arguments, "--fresh", "--results", tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("the frozen teacher's own score is not known") == 1
    assert "trained on the source first" not in outcome.out
    records = {r.spec.method: r for r in store.read_all(tmp_path / "records")}
    (cost,) = records["dualkd"].cost.teachers
    assert cost.reused
    assert cost.miou is None
    assert cost.training == records["source_only"].cost.training


def test_a_teacher_that_is_not_usable_is_trained_again(made_once, tmp_path):
    made_once("dualkd").copy_to(tmp_path)
    cut_short(teacher_weights(tmp_path))
    arguments = ["run", "--method", "dualkd", "--scenario", "gta2cs", *QUICK]
    outcome = bench(*arguments, "--fresh", "--results", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "frozen teacher mini_xs: trained on the source first" in outcome.out


def test_a_users_own_folder_stands_in_for_none_of_ours(cold_workers, tmp_path, monkeypatch):
    for name in ("methods", "harness"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    outcome = bench("run", "--method", "dualkd", "--scenario", "gta2cs", *QUICK)
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "runs/records").glob("*.json"))) == 2


def test_scores_of_earlier_weights_are_not_those_of_new_ones(tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        break_stage(broken, "_measure_stage", KeyboardInterrupt())
        assert bench(*DAFORMER, "--results", tmp_path).code == 130
    folder = only_folder(tmp_path)
    assert list(folder.glob("scores-*.json")), "scored, and not yet a record"
    (folder / "run.json").write_text("of an earlier training")
    with monkeypatch.context() as broken:
        break_stage(broken, "_score_stage", KeyboardInterrupt())
        assert bench(*DAFORMER, "--results", tmp_path, "--fresh").code == 130
    assert (folder / OUTCOME).is_file()
    assert not list(folder.glob("scores-*.json"))
    assert not (folder / "run.json").exists()


def test_of_a_plug_in_it_is_said_that_changed_code_starts_anew(tmp_path):
    plan = resolve(Request(method="source_only", scenario="gta2cs", student="test_mit"))
    mine = plan.spec.model_copy(update={"plugins": {"mine": "0" * 64}})
    said = []
    for spec in (plan.spec, mine):
        report = Reporter(Console(width=400, file=(shown := io.StringIO())))
        place = Workplace(tmp_path, torch.device("cpu"), report)
        asked = replace(plan, spec=spec)
        with (
            pytest.raises(ZeroDivisionError),
            stage("training", lambda: "a state is kept", asked, place),
        ):
            raise ZeroDivisionError
        said.append(shown.getvalue().strip())
    assert said[0].endswith("a state is kept; the same command goes on from there")
    assert said[1].endswith("goes on from there (changed code of mine starts anew)")


def test_weights_that_have_changed_are_trained_again_and_that_is_said(made_once, tmp_path):
    results = made_once("daformer").copy_to(tmp_path)
    for record in (results / "records").glob("*.json"):
        record.unlink()
    cut_short(next(results.glob("artifacts/*/student.safetensors")))
    outcome = bench(*DAFORMER, "--results", results)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("are not as their training left them: trained again") == 1


@pytest.mark.parametrize("done_before", [False, True])
def test_what_is_said_of_an_interrupted_fresh_run_is_so(
    done_before, made_once, tmp_path, monkeypatch
):
    if done_before:
        made_once("daformer").copy_to(tmp_path)
    with monkeypatch.context() as patch:
        break_stage(patch, "score", Interrupted(signal.SIGTERM))
        outcome = bench(*DAFORMER, "--fresh", "--results", tmp_path)
    assert outcome.code == 75
    (line,) = [each for each in outcome.out.splitlines() if each.startswith("interrupted")]
    assert ("without --fresh goes on" in line) != done_before
    assert ("the record of" in line) == done_before
    again = bench(*DAFORMER, "--results", tmp_path)
    assert ("trained before, used again" in again.out) != done_before
    assert ("is done" in again.out) == done_before
