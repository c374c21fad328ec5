"""A run of two processes: one record, that of one process; it stops, goes on and fails as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import two_processes
from bench_cli import QUICK, SETTINGS, bench, refused
from fake_records import fake_cost
from rich.console import Console
from test_unlabelled import MICRO, scenario, write

from harness.config.planning import Plan, Request, resolve
from harness.errors import BenchError, Interrupted
from harness.evaluation.scoring import score
from harness.records import store
from harness.records.schema import Record
from harness.report import loggers
from harness.report.progress import Reporter
from harness.runs import group
from harness.runs.group import carry_out
from harness.runs.workplace import Workplace
from harness.signals import Stop
from harness.training.trainer import Trainer
from harness.weights.find import load
from methods.networks import zoo

CPU = torch.device("cpu")
FAILED = 2
KILLED = "import os; os.kill(os.getpid(), 9)"


def plan_of(*overrides: str, method: str = "dacs") -> Plan:
    settings = (*SETTINGS, "devices=2", "checkpoint_every=2", "log_every=1", *overrides)
    return resolve(
        Request(method=method, scenario="gta2cs", student="test_mit", overrides=settings)
    )


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch):
    """The inference speed is measured in a process of its own."""
    monkeypatch.setattr("harness.runs.run.measured_speed", lambda *_: fake_cost().inference)


def take_part(results: Path, said: Path, disturb: Callable[[Workplace, int], None] | None) -> None:
    """A process of the run, which `disturb` disturbs after each step; says how it ended."""
    plan = plan_of()
    rank = int(os.environ["RANK"])
    workplace = Workplace(results, CPU, Reporter(Console(quiet=True)))
    step = Trainer.step

    def disturbed(trainer: Trainer, batches, number):
        terms = step(trainer, batches, number)
        if disturb and rank == 1:
            disturb(trainer, workplace, number)
        return terms

    Trainer.step = disturbed
    try:
        carry_out(plan, workplace)
    except BenchError as error:
        (said / str(rank)).write_text(str(error))
        sys.exit(FAILED)
    except Interrupted as end:
        sys.exit(end.exit_code)


def carried_out(results: Path, disturb=None) -> tuple[list[int | None], list[str]]:
    """How each of the two processes ended, and what it said of it."""
    said = results.with_name(f"{results.name} said")
    said.mkdir(parents=True)
    codes = two_processes.ended(two_processes.started(take_part, results, said, disturb))
    lines = [(said / str(n)).read_text() if (said / str(n)).exists() else "" for n in (0, 1)]
    return codes, lines


def record_in(results: Path) -> Record:
    (path,) = (results / "records").glob("*.json")
    return store.read(path)


def weights_in(results: Path) -> dict[str, str]:
    (path,) = (results / "artifacts").glob("*/training.json")
    return json.loads(path.read_text())["weights_sha256"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The results of a run that nothing disturbed."""
    results = tmp_path_factory.mktemp("whole") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.runs.run.measured_speed", lambda *_: fake_cost().inference)
        assert carried_out(results) == ([0, 0], ["", ""])
    return results


def test_one_record_with_the_figures_of_one_process(whole, tmp_path):
    plan, record = plan_of(), record_in(whole)
    assert record.spec.profile.devices == 2
    assert record.metrics is not None
    alone = carry_out(plan_of("devices=1"), Workplace(tmp_path, CPU, Reporter(Console(quiet=True))))
    assert alone is not None
    assert alone.metrics is not None
    for name, values in alone.metrics.losses.items():  # but for dropout, each one's own draw
        assert record.metrics.losses[name] == pytest.approx(values, rel=0.02), name
    network = zoo.build(plan.spec.student)
    (folder,) = (whole / "artifacts").iterdir()
    load(network, folder / "student.safetensors")
    validation = plan.sources.target.open("val")
    scores = score(network, validation, plan.spec.scenario, plan.spec.profile, CPU)
    assert record.metrics.student.confusion == scores.confusion


def stop_after_two(trainer: Trainer, workplace: Workplace, step: int) -> None:
    if step == 2:
        workplace.stop.number = signal.SIGTERM


def test_a_signal_to_one_process_stops_both_and_they_go_on_exactly(whole, tmp_path):
    results = tmp_path / "results"
    assert carried_out(results, stop_after_two)[0] == [75, 75]
    (state,) = (results / "artifacts").glob("*/checkpoints/step-3")
    assert state.is_dir()
    (tmp_path / "results said").rename(tmp_path / "said before")
    assert carried_out(results)[0] == [0, 0]
    first, second = record_in(whole), record_in(results)
    assert second.cost is not None
    assert second.cost.training.resumed == [3]
    assert first.metrics is not None
    assert second.metrics is not None
    assert second.metrics.losses == first.metrics.losses
    assert second.metrics.student == first.metrics.student
    assert weights_in(results) == weights_in(whole)


def fail(trainer: Trainer, workplace: Workplace, step: int) -> None:
    raise ValueError("out of luck")


def test_where_one_process_fails_both_do_in_its_words(tmp_path):
    codes, (first, _) = carried_out(tmp_path / "results", fail)
    assert codes[0] == FAILED
    assert codes[1] not in (0, None)
    assert first == "process 1 of 2: out of luck"
    error = record_in(tmp_path / "results").error
    assert error is not None
    assert error.endswith(first)


def learn_apart(trainer: Trainer, workplace: Workplace, step: int) -> None:
    with torch.no_grad():
        next(trainer.method.student.head.parameters()).add_(1e-3)


def test_networks_that_became_different_are_an_error(tmp_path):
    codes, (first, _) = carried_out(tmp_path / "results", learn_apart)
    assert codes == [FAILED, FAILED]
    assert "became another in process 1 than in process 0" in first
    assert first.startswith("student.head.")


DIES = """
import os, signal
from methods.source_only import SourceOnly
from methods.parts.joined import rank

class Dies(SourceOnly):
    def after_step(self, step):
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_ends_the_command_in_one_line(tmp_path, capfd):
    (tmp_path / "dies.py").write_text(DIES)
    asked = ["run", "--method", "dies", "--plugin", tmp_path / "dies.py", "--devices", "2"]
    outcome = bench(*asked, "--scenario", "gta2cs", *QUICK, "--results", tmp_path / "results")
    assert outcome.code == 2
    assert "Traceback" not in outcome.out
    assert outcome.err == ""
    assert capfd.readouterr().err == (
        "bench: process 1 of 2: killed by signal 9 (SIGKILL), perhaps out of memory\n"
    )


@pytest.mark.parametrize(("asked", "said"), [(None, ["process 1 of 2"]), (signal.SIGINT, [])])
def test_that_one_was_killed_is_said_where_nobody_asked_for_the_end(asked, said, monkeypatch):
    """Ctrl-C ends a process that still imports as a signal does; the first may not listen yet."""
    ends = [subprocess.Popen([sys.executable, "-c", code]) for code in ("exit(2)", KILLED)]
    told, stop = [], Stop()
    stop.number = asked
    monkeypatch.setattr(group, "_tell", lambda reason, port: told.append(reason.split(":")[0]))
    ends[1].wait()
    assert group._wait(ends, 0, stop) == [2, -signal.SIGKILL]
    assert told == said


class Noted:
    """A program that watches a run: what it is told, in a file of the process that tells it."""

    package = "json"
    folder = Path()

    def begin(self, spec, name, results):
        self.told = (self.folder / f"told by {os.environ['RANK']}").open("a")

    def step(self, step, values):
        self.told.write(f"step {step}\n")

    def end(self, scores):
        self.told.write(f"end {sorted(scores)}\n")
        self.told.close()


def command(said: Path, arguments: list[str | Path]) -> None:
    """One of the processes that torchrun starts, the command line in each."""
    Noted.folder = said
    loggers.LOGGERS = {"tensorboard": Noted}  # type: ignore[dict-item]
    outcome = bench(*arguments)
    (said / os.environ["RANK"]).write_text(outcome.out + outcome.err)
    sys.exit(outcome.code)


def commanded(said: Path, *arguments: str | Path) -> Record:
    """The record of a command in two processes."""
    said.mkdir()
    results = said / "results"
    asked = ["run", "--method", "dacs", *arguments, "--results", results]
    codes = two_processes.ended(two_processes.started(command, said, asked))
    assert codes == [0, 0], [(said / str(rank)).read_text() for rank in (0, 1)]
    return record_in(results)


def test_networks_are_scored_on_the_way_and_one_process_tells_who_watches(tmp_path):
    settings = ["--set", "score_every=2", "--set", "log_every=1", "--log", "tensorboard"]
    record = commanded(tmp_path / "watched", "--scenario", "gta2cs", *QUICK, *settings)
    assert record.metrics is not None
    assert record.metrics.curve is not None
    halfway, last = record.metrics.curve.points
    assert (halfway.step, last.step) == (2, 4)
    assert last.student.miou == record.metrics.student.miou
    told = (tmp_path / "watched" / "told by 0").read_text().splitlines()
    assert [line.split()[0] for line in told] == ["step"] * 4 + ["end"]
    assert "student/miou" in told[-1]
    assert not (tmp_path / "watched" / "told by 1").exists()


def test_adapters_learn_in_two_processes_and_leave_a_plain_network(tmp_path):
    pytest.importorskip("peft")
    settings = ["--set", "lora_rank=2"]
    record = commanded(tmp_path / "adapted", "--scenario", "gta2cs", *QUICK, *settings)
    assert record.cost is not None
    assert record.cost.training_parameters_m > 2 * record.cost.parameters_m  # and adapters
    (folder,) = (tmp_path / "adapted/results/artifacts").iterdir()
    network = zoo.build("test_mit")
    load(network, folder / "student.safetensors")
    plan = plan_of()
    validation = plan.sources.target.open("val")
    scores = score(network, validation, plan.spec.scenario, plan.spec.profile, CPU)
    assert record.metrics is not None
    assert record.metrics.student.confusion == scores.confusion  # both scored what was merged


def test_a_target_without_labels_is_predicted_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("source"), [0, 1, 2])
    write(Path("target"), [0, 1, 2], labelled=False)
    record = commanded(tmp_path / "run", "--scenario", scenario("plain"), *MICRO)
    assert record.metrics is not None
    assert record.metrics.label_free is not None
    assert record.metrics.label_free.images == 6
    folder = tmp_path / "run/results/artifacts" / record.spec.weights_id
    assert len(list(folder.glob("predictions-*/**/*.png"))) == 7  # and the legend


def test_devices_that_cannot_share_out_a_batch(tmp_path):
    asked = ["run", "--method", "source_only", "--scenario", "gta2cs", "--devices", "3", *QUICK]
    line = refused(bench(*asked, "--results", tmp_path))
    assert "batch_size = 2 images cannot be shared out evenly; expected 1 or 2 devices" in line
    assert "batch_size=3" in line
