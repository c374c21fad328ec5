"""N steps are k steps, an interruption and N - k steps, bit for bit."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from bench_cli import SETTINGS
from torch import Tensor

from harness.config.planning import Plan, Request, resolve
from harness.data.loader import TrainLoader
from harness.errors import Interrupted
from harness.measure.clock import StepClock, Stopwatch
from harness.runs.training import build_method
from harness.signals import Stop
from harness.training.checkpoints import Checkpoints
from harness.training.loop import GoldenLosses, train
from harness.training.state import (
    State,
    StateError,
    capture,
    load,
    random_streams,
    restore,
    restore_streams,
    save,
)
from harness.training.trainer import Trainer
from methods import registry
from methods.contract import Method
from methods.networks import zoo

CPU = torch.device("cpu")
MADE_BY = {"code": "this", "environment": "that"}
#: Steps; those from number 3 on mix, and the state of after that one is gone on from.
ITERATIONS, KEPT_AT = 5, 4
COMBINATIONS = ("dualkd+mic", "dacs+mic", "hrda+mic", "dualkd+hrda")


class Run(NamedTuple):
    method: Method
    trainer: Trainer
    golden: GoldenLosses
    first: dict[str, list[float]]
    log: list[dict[str, float]]
    clock: StepClock


class Watched(Checkpoints):
    """Hands on the trainer, which the loop makes."""

    trainer: Trainer

    def stop_here(self, trainer, done, meters):
        self.trainer = trainer
        super().stop_here(trainer, done, meters)


def plan_of(method: str, *overrides: str) -> Plan:
    settings = (*SETTINGS, f"iterations={ITERATIONS}", "log_every=1", *overrides)
    return resolve(
        Request(method=method, scenario="gta2cs", student="test_mit", overrides=settings)
    )


def built(plan: Plan) -> Method:
    torch.manual_seed(plan.spec.seed)
    student = zoo.build(plan.spec.student)
    return build_method(plan, student, [zoo.build(teacher.network) for teacher in plan.teachers])


def run(
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    every: str = str(KEPT_AT),
    stop: Stop | None = None,
) -> Run:
    """Train as `bench run` does, without its process."""
    folder.mkdir(exist_ok=True)
    method, profile = built(plan), plan.spec.profile
    checkpoints = Watched(folder, every, MADE_BY, lambda _: None, stop)
    state = checkpoints.newest(method, ITERATIONS, False) if resume else None
    assert (state is not None) == resume
    loader = TrainLoader(
        plan.sources.source.open("train") if method.uses_source else None,
        plan.sources.target.open("train") if method.uses_target else None,
        profile,
        plan.spec.seed,
        target_labels=method.needs_target_labels,
        start_step=(KEPT_AT if resume else 0) * profile.accumulation,
        steps=ITERATIONS * profile.accumulation,
    )
    clock, golden = StepClock(profile.batch_size), GoldenLosses(ITERATIONS)
    first = train(
        method, loader, profile, CPU,
        clock=clock, progress=lambda *_: None, golden=golden, log=folder / "log.jsonl",
        checkpoints=checkpoints, meters={"wall": Stopwatch()}, resume=state,
    )  # fmt: skip
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return Run(method, checkpoints.trainer, golden, first, log, clock)


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    return [key for key, tensor in one.items() if not torch.equal(tensor, other[key])]


def assert_equal(one: Run, other: Run) -> None:
    """All that a later step, a record or a log could show, but for seconds and MiB."""
    states = capture(one.trainer), capture(other.trainer)
    assert states[0].values == states[1].values
    assert states[0].tensors.keys() == states[1].tensors.keys()
    assert not differing(states[0].tensors, states[1].tensors)
    weights = one.method.state_dict(), other.method.state_dict()
    assert weights[0].keys() == weights[1].keys()
    assert not differing(*weights), "whatever is left out of a state"
    rates = [
        [group["lr"] for optimiser in run.trainer.schedules for group in optimiser.param_groups]
        for run in (one, other)
    ]
    assert rates[0] == rates[1]
    assert one.golden.losses == other.golden.losses
    assert one.golden.held_mib == other.golden.held_mib
    assert one.first == other.first
    for lines in (one.log, other.log):
        assert [line["step"] for line in lines] == list(range(1, ITERATIONS + 1))
    kept = [[{**line, "images_per_second": 0} for line in run.log] for run in (one, other)]
    assert kept[0] == kept[1]
    assert len(one.clock.steps) == len(other.clock.steps) == ITERATIONS


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch):
    """Memory held by this process's other tests is neither here nor there, and slow to count."""
    monkeypatch.setattr("harness.training.loop.held_mib", lambda device: 1.0)


def disturb() -> None:
    """Whatever another process would have drawn."""
    torch.manual_seed(123)
    np.random.seed(123)
    random.seed(123)


def both(plan: Plan, folder: Path) -> tuple[Run, Run]:
    """Uninterrupted, and gone on from the state that it kept on its way."""
    whole = run(plan, folder)
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "torn')
    disturb()
    return whole, run(plan, folder, resume=True)


@pytest.mark.parametrize("method", [*registry.names(), *COMBINATIONS])
def test_a_resumed_training_is_the_uninterrupted_one(method, tmp_path):
    whole, resumed = both(plan_of(method), tmp_path)
    assert_equal(whole, resumed)
    # Of the steps before the state, the seconds too.
    assert whole.log[:KEPT_AT] == resumed.log[:KEPT_AT]
    assert whole.clock.steps[:KEPT_AT] == resumed.clock.steps[:KEPT_AT]


@pytest.mark.parametrize(
    "overrides",
    [("accumulation=2",), ("optimiser=sgd",), ("channels_last=true",), ("workers=1",)],
    ids=" ".join,
)
def test_however_it_is_trained(overrides, tmp_path):
    assert_equal(*both(plan_of("dacs", *overrides), tmp_path))


def test_a_signal_ends_it_after_the_step_and_it_goes_on_from_there(tmp_path, monkeypatch):
    plan, stop = plan_of("dacs"), Stop()
    whole = run(plan, tmp_path / "whole")
    step = Trainer.step

    def signalled(self, batches, number):
        if number == KEPT_AT - 1:
            stop.number = signal.SIGTERM
        return step(self, batches, number)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", signalled)
        with pytest.raises(Interrupted):
            run(plan, tmp_path / "cut", every="10min", stop=stop)
    assert_equal(whole, run(plan, tmp_path / "cut", resume=True))


def test_workers_that_the_signal_ended_first_cost_no_step(tmp_path, monkeypatch):
    """SIGTERM to all processes: the next batch never comes, and the steps before it are kept."""
    plan, stop = plan_of("dacs"), Stop()
    whole = run(plan, tmp_path / "whole")
    batches = TrainLoader.__iter__

    def ended(self):
        for number, batch in enumerate(batches(self)):
            if number == KEPT_AT:
                stop.number = signal.SIGTERM
                raise RuntimeError("DataLoader worker (pid 1) exited unexpectedly")
            yield batch

    with monkeypatch.context() as patched:
        patched.setattr(TrainLoader, "__iter__", ended)
        with pytest.raises(Interrupted):
            run(plan, tmp_path / "cut", every="10min", stop=stop)
    assert_equal(whole, run(plan, tmp_path / "cut", resume=True))


def trainer(plan: Plan) -> Trainer:
    return Trainer(built(plan), plan.spec.profile, CPU)


@pytest.fixture(scope="module")
def fp16() -> Plan:
    return plan_of("daformer", "precision=fp16", "lambda_fd=0.005")


def test_the_gradient_scaler_goes_on_where_it_was(fp16, tmp_path):
    """It has halved its scale, and counts the steps since: two figures that no network holds."""
    before, after = trainer(fp16), trainer(fp16)
    scaler = {**before.scaler.state_dict(), "scale": 128.0, "_growth_tracker": 7}
    before.scaler.load_state_dict(scaler)
    save(tmp_path / "state", capture(before))
    restore(after, load(tmp_path / "state"))
    assert after.scaler.state_dict() == scaler


def test_frozen_networks_are_told_by_their_hash_and_not_stored(fp16, tmp_path):
    before = trainer(fp16)
    save(tmp_path / "state", capture(before))
    state = load(tmp_path / "state")
    assert state.values["frozen"].keys() == {"imagenet"}
    assert not [key for key in state.tensors if key.startswith("method/imagenet")]
    restore(trainer(fp16), state)
    other = trainer(fp16)
    with torch.no_grad():
        next(other.method.imagenet.parameters()).add_(1)
    with pytest.raises(StateError, match="frozen"):
        restore(other, state)


def test_other_networks_are_refused_before_anything_is_changed(fp16, tmp_path):
    save(tmp_path / "state", capture(trainer(fp16)))
    other = trainer(plan_of("source_only", "precision=fp16"))
    before = {key: tensor.clone() for key, tensor in other.method.state_dict().items()}
    with pytest.raises(StateError):
        restore(other, load(tmp_path / "state"))
    assert all(torch.equal(before[key], t) for key, t in other.method.state_dict().items())


def test_weights_under_two_names_are_stored_once(fp16, tmp_path):
    before, after = trainer(fp16), trainer(fp16)
    for one in (before, after):
        one.method.twin = one.method.student.head
    with torch.no_grad():
        for parameter in before.method.student.parameters():
            parameter.mul_(2)
    save(tmp_path / "state", capture(before))
    state = load(tmp_path / "state")
    assert not [key for key in state.tensors if key.startswith("method/twin")]
    restore(after, state)
    assert all(
        torch.equal(one, other)
        for one, other in zip(before.method.parameters(), after.method.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", ["tensors.safetensors", "values.json"])
@pytest.mark.parametrize("damage", ["one bit", "cut short", "gone"])
def test_a_damaged_state_is_told_from_a_whole_one(fp16, tmp_path, name, damage):
    folder = tmp_path / "state"
    save(folder, capture(trainer(fp16)))
    file = folder / name
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "one bit" else content[:-40])
    with pytest.raises(StateError):
        load(folder)


def test_a_state_holds_no_code(fp16, tmp_path):
    save(tmp_path / "state", capture(trainer(fp16)))
    assert {path.name for path in (tmp_path / "state").iterdir()} == {
        "tensors.safetensors",
        "values.json",
    }


def test_a_state_of_a_cpu_leaves_a_gpus_stream_as_it_is(monkeypatch):
    of_cpu = SimpleNamespace(method=torch.nn.Module(), device=CPU)
    tensors, values = random_streams(of_cpu)
    set_back = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *given: set_back.append(given))
    on_gpu = SimpleNamespace(method=of_cpu.method, device=torch.device("cuda"))
    state = State(tensors, {"random": values, "random_of_others": []})
    drawn = torch.rand(3)
    restore_streams(on_gpu, state)
    assert torch.equal(torch.rand(3), drawn)
    assert set_back == []
    kept = torch.zeros(2, dtype=torch.uint8)
    restore_streams(on_gpu, State({**tensors, "random/cuda": kept}, state.values))
    assert [(given is kept, str(device)) for given, device in set_back] == [(True, "cuda")]
