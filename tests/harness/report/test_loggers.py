"""Programs that watch a run are told all of it, and none of them can end it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_cli import QUICK, bench, refused
from fake_records import fake_record

from harness.measure.memory import PeakMemory
from harness.records import store
from harness.records.schema import Record
from harness.report import loggers
from harness.report.loggers import Logging

RUN = ["run", "--method", "daformer", "--scenario", "gta2cs", *QUICK]
TOLD = {"loss/source", "learning_rate", "images_per_second", "memory_mib"}
SCORED = {"student/miou", "student/miou_all19", "student/pixel_accuracy", "ema_teacher/miou"}


class Measured(PeakMemory):
    def so_far_mib(self) -> float:
        return 123.4


class Kept:
    """A logger that keeps what it is told, or fails at one of its methods."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.told = fails, []

    def _note(self, what, *values):
        self.told.append((what, *values))
        if what == self.fails:
            raise ConnectionError(f"no server\nat {what}")

    def begin(self, spec, name, results):
        self._note("begin", spec.run_id, name)

    def step(self, step, values):
        self._note("step", step, dict(values))

    def end(self, scores):
        self._note("end", dict(scores))


def run_with(monkeypatch, results: Path, **kinds: Kept):
    monkeypatch.setattr(loggers, "LOGGERS", {name: lambda k=k: k for name, k in kinds.items()})
    monkeypatch.setattr(loggers, "find_spec", lambda name: True)
    for made in loggers.LOGGERS.values():
        made.package = "json"
    options = [part for name in kinds for part in ("--log", name)]
    return bench(*RUN, "--results", results, *options)


def only_record(results: Path) -> Record:
    (record,) = store.read_all(results / "records")
    return record


def test_loggers_are_told_of_the_whole_run_and_failing_ones_end_none(monkeypatch, tmp_path):
    kinds = {"whole": Kept(), **{f"bad_{part}": Kept(part) for part in ("begin", "step", "end")}}
    outcome = run_with(monkeypatch, tmp_path, **kinds)
    assert outcome.code == 0, outcome
    record = only_record(tmp_path)
    begun, *steps, ended = kinds["whole"].told
    name = f"daformer-gta2cs-test_mit-s0-{record.run_id}"
    assert begun == ("begin", record.run_id, name)
    assert [(what, step) for what, step, _ in steps] == [("step", 2), ("step", 4)]
    assert all(set(values) >= TOLD for _, _, values in steps)
    logged = next(tmp_path.glob("artifacts/*/log.jsonl")).read_text("utf-8").splitlines()
    assert steps[-1][2]["loss/source"] == json.loads(logged[-1])["source"]
    assert set(ended[1]) >= SCORED
    assert ended[1]["student/miou"] == record.metrics.student.miou
    assert outcome.out.count("fails (no server at") == 3
    assert outcome.out.count("the run goes on without it") == 3
    assert [what for what, *_ in kinds["bad_begin"].told] == ["begin"]
    assert [what for what, *_ in kinds["bad_step"].told] == ["begin", "step"]


def test_the_learning_rate_is_that_of_the_step():
    """Four steps, a warm-up of one, decay of power one: the fourth trains with a quarter."""
    whole = Kept()
    profile = fake_record(profile={"iterations": 4, "warmup": 1}).spec.profile
    tell = Logging([whole]).also(lambda *_: None, profile, Measured("cpu"))
    tell(2, {}, 1.0)
    tell(4, {}, 1.0)
    rates = [values["learning_rate"] for _, _, values in whole.told]
    assert rates == pytest.approx([profile.lr * 0.75, profile.lr * 0.25])


def test_a_run_that_comes_to_nothing_ends_its_loggers_too(tmp_path):
    whole = Kept()
    logging = Logging([whole])
    with pytest.raises(KeyboardInterrupt), logging.run(fake_record().spec, tmp_path):
        raise KeyboardInterrupt
    assert whole.told[-1] == ("end", {})


def test_what_is_not_there_is_refused_before_anything_runs(monkeypatch, tmp_path):
    line = refused(bench(*RUN, "--results", tmp_path, "--log", "excel"))
    assert "expected tensorboard, wandb, mlflow" in line
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    line = refused(bench(*RUN, "--results", tmp_path, "--log", "wandb"))
    assert "pip install 'uda-bench[wandb]'" in line
    assert not list(tmp_path.iterdir())


def told_of_a_run(name: str, results: Path) -> Record:
    """What a run tells its loggers, without training: two logged steps, then its record."""
    record = fake_record("daformer", ema_miou=34, profile={"iterations": 4})
    failures: list[str] = []
    logging = Logging(loggers.loggers([name]), failures.append)
    with logging.run(record.spec, results):
        tell = logging.also(lambda *_: None, record.spec.profile, Measured("cpu"))
        for step in (2, 4):
            tell(step, {"source": 3.0 - step / 4}, 10.0)
        logging.scored(record)
    assert not failures
    return record


def test_tensorboard_has_curves_and_scores(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = told_of_a_run("tensorboard", tmp_path)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    assert set(events.Tags()["scalars"]) >= TOLD | SCORED
    assert [(e.step, e.value) for e in events.Scalars("loss/source")] == [(2, 2.5), (4, 2.0)]
    assert events.Scalars("student/miou")[0].value == pytest.approx(record.metrics.student.miou)


@pytest.mark.slow
def test_mlflow_has_a_store_of_its_own(monkeypatch, tmp_path):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    record = told_of_a_run("mlflow", tmp_path)
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("uda-bench")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["run_id"] == record.run_id
    assert run.data.params["method"] == "daformer"
    assert run.data.params["profile.iterations"] == "4"
    assert run.data.metrics["student/miou"] == pytest.approx(record.metrics.student.miou)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss/source")] == [2, 4]


@pytest.mark.slow
def test_weights_and_biases_writes_offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-own"))
    record = told_of_a_run("wandb", tmp_path)
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    written = file.read_bytes()
    for text in (*TOLD, *SCORED, record.run_id):
        assert text.encode() in written, text
