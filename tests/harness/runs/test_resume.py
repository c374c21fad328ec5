"""A run that is interrupted or killed, and the same command given again."""

from __future__ import annotations

import json
import os
import random
import signal

import psutil
import pytest
from bench_cli import QUICK, bench
from kills import Process, command, figures, finished, left, lines, moments, records, wait_for
from safetensors.torch import load_file

from harness.config.planning import Request, resolve
from harness.records import store
from harness.training.trainer import Trainer
from methods.networks import zoo

DACS = [
    "run", "--method", "dacs", "--scenario", "gta2cs", *QUICK,
    "--set", "iterations=6", "--set", "log_every=1",
]  # fmt: skip


@pytest.fixture
def signalled(monkeypatch):
    """Have a signal arrive in the middle of a step."""

    def at(step: int, number: signal.Signals) -> None:
        whole = Trainer.step

        def interrupted(self, batches, at_step):
            if at_step == step:
                signal.raise_signal(number)
            return whole(self, batches, at_step)

        monkeypatch.setattr(Trainer, "step", interrupted)

    return at


PARTS = [
    "--set", "freeze_encoder=1", "--set", "lora_rank=2", "--set", "encoder_lr_factor=0.5",
    "--set", "layer_decay=0.9",
]  # fmt: skip


def without_memory(record):
    """Its figures but for the memory that tensors held: here other tests hold some, too."""
    values = figures(record)
    values["metrics"]["golden"] = values["metrics"]["golden"]["losses"]
    return values


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_keeps_the_step_and_the_same_command_goes_on(
    number, code, tmp_path, signalled, monkeypatch
):
    whole = bench(*DACS, "--results", tmp_path / "whole")
    assert whole.code == 0, whole.err
    results = tmp_path / "cut"
    with monkeypatch.context():
        signalled(4, number)
        cut = bench(*DACS, "--results", results)
        assert cut.code == code
        monkeypatch.undo()
    (line,) = (line for line in cut.out.splitlines() if line.startswith("interrupted"))
    assert "while training: the training state of step 5 of 6 is kept in" in line
    assert line.endswith("; the same command goes on from there")
    assert not list((results / "records").glob("*")), "an interrupted run has not failed"
    again = bench(*DACS, "--results", results)
    assert again.code == 0, again.err
    assert "goes on at step 5 of 6" in again.out
    ((record,), (expected,)) = (
        store.read_all(folder / "records") for folder in (results, tmp_path / "whole")
    )
    assert without_memory(record) == without_memory(expected)
    assert record.cost.training.resumed == [5]
    assert record.cost.training.checkpoints.count == 1
    assert expected.cost.training.resumed == []
    assert expected.cost.training.checkpoints is None
    assert left(results) == left(tmp_path / "whole")
    logs = [next(folder.glob("artifacts/*/log.jsonl")) for folder in (results, tmp_path / "whole")]
    steps = [[json.loads(line)["step"] for line in log.read_text().splitlines()] for log in logs]
    assert steps == [[1, 2, 3, 4, 5, 6]] * 2


def test_adapters_go_on_and_leave_a_plain_network(tmp_path, signalled, monkeypatch):
    """With frozen blocks and rates of their own: resumed, scored, stored and exported."""
    pytest.importorskip("peft")
    assert bench(*DACS, *PARTS, "--results", tmp_path / "whole").code == 0
    with monkeypatch.context():
        signalled(4, signal.SIGTERM)
        assert bench(*DACS, *PARTS, "--results", tmp_path / "cut").code == 75
        monkeypatch.undo()
    again = bench(*DACS, *PARTS, "--results", tmp_path / "cut")
    assert "goes on at step 5 of 6" in again.out
    record, expected = (
        store.read_all(tmp_path / folder / "records")[0] for folder in ("cut", "whole")
    )
    assert without_memory(record) == without_memory(expected)
    assert record.cost.training_parameters_m > 2 * record.cost.parameters_m  # and adapters
    plain = zoo.build("test_mit").state_dict()
    for file in tmp_path.glob("whole/artifacts/*/*.safetensors"):  # the EMA teacher's too
        assert load_file(file).keys() == plain.keys()
    cut = ["--results", tmp_path / "cut", "--checkpoint", record.run_id]
    assert bench("export", *cut, "--no-onnx", "--out", tmp_path / "exported").code == 0


def test_fresh_goes_on_from_nothing(tmp_path, signalled, monkeypatch):
    signalled(2, signal.SIGTERM)
    assert bench(*DACS, "--results", tmp_path).code == 75
    monkeypatch.undo()
    again = bench(*DACS, "--fresh", "--results", tmp_path)
    assert again.code == 0, again.err
    assert "goes on" not in again.out
    (record,) = store.read_all(tmp_path / "records")
    assert record.cost.training.resumed == []


def test_weights_that_are_trained_already_are_saved_before_a_signal_ends_it(
    tmp_path, signalled, monkeypatch
):
    """In the last step: there is no later state than the weights themselves."""
    signalled(5, signal.SIGTERM)
    cut = bench(*DACS, "--results", tmp_path)
    assert cut.code == 75
    assert "interrupted while training: the trained weights are kept in" in cut.out
    monkeypatch.undo()
    again = bench(*DACS, "--results", tmp_path)
    assert "trained before, used again" in again.out
    assert again.code == 0, again.err


def test_states_do_not_rename_a_run(tmp_path):
    plans = [
        resolve(Request(method="dacs", scenario="gta2cs", overrides=overrides)).spec
        for overrides in ((), ("checkpoint_every=7",), ("checkpoint_every=off",))
    ]
    assert len({plan.run_id for plan in plans}) == 1
    assert len({plan.weights_id for plan in plans}) == 1


@pytest.mark.slow
def test_a_run_that_is_ended_killed_and_killed_again_is_one_that_nobody_disturbed(
    tmp_path, own_environment
):
    """In processes of its own, with a loader's worker: SIGTERM to all, SIGKILL in two stages."""
    cache, said = os.environ["UDA_BENCH_CACHE"], tmp_path / "said.txt"
    arguments = command("dacs", tmp_path / "cut", "workers=1", "iterations=12")
    said.touch()
    ends = []
    saving = moments(tmp_path / "cut", said, random.Random(0))["saving"]
    for reached, number in (
        (lambda: lines(tmp_path / "cut") >= 3, signal.SIGTERM),
        (lambda: lines(tmp_path / "cut") >= 7, signal.SIGKILL),
        (saving, signal.SIGKILL),
    ):
        process = Process(arguments, cache, said)
        assert wait_for(process, reached), said.read_text()
        children = psutil.Process(process.pid).children(recursive=True)
        if number == signal.SIGTERM:
            process.send_signal_to_all(number)
        else:
            process.send_signal(number)
        ends.append(process.wait(60))
        if number == signal.SIGTERM:
            _, alive = psutil.wait_procs(children, timeout=10)
            assert not alive, "its workers end with it"
    assert ends == [75, -signal.SIGKILL, -signal.SIGKILL], said.read_text()
    finished(Process(arguments, cache, said), said)
    whole = tmp_path / "whole"
    undisturbed = command("dacs", whole, "workers=1", "iterations=12")
    finished(Process(undisturbed, cache, said), said)
    assert records(tmp_path / "cut") == records(whole)
    assert left(tmp_path / "cut") == left(whole)
    (record,) = store.read_all(tmp_path / "cut/records")
    assert len(record.cost.training.resumed) >= 2
