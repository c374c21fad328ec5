"""N steps are k steps, an interruption and N - k steps, bit for bit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from bench_cli import SETTINGS

from harness.config.planning import Plan, Request, resolve
from harness.data.loader import TrainLoader
from harness.measure.clock import StepClock, Stopwatch
from harness.runs.training import build_method
from harness.signals import Stop
from harness.training.checkpoints import Checkpoints
from harness.training.loop import Golden, train
from harness.training.state import capture
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
    golden: Golden
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


def run(plan: Plan, folder: Path, *, resume: bool = False, stop: Stop | None = None) -> Run:
    """Train as `bench run` does, without its process."""
    method, profile = built(plan), plan.spec.profile
    checkpoints = Watched(folder, str(KEPT_AT), MADE_BY, lambda _: None, stop)
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
    clock, golden = StepClock(profile.batch_size), Golden(ITERATIONS)
    first = train(
        method, loader, profile, CPU,
        clock=clock, progress=lambda *_: None, golden=golden, log=folder / "log.jsonl",
        checkpoints=checkpoints, meters={"wall": Stopwatch()}, resume=state,
    )  # fmt: skip
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return Run(method, checkpoints.trainer, golden, first, log, clock)


def assert_equal(one: Run, other: Run) -> None:
    """All that a later step, a record or a log could show, but for seconds and MiB."""
    states = capture(one.trainer), capture(other.trainer)
    assert states[0].values == states[1].values
    assert states[0].tensors.keys() == states[1].tensors.keys()
    differing = [
        key
        for key, tensor in states[0].tensors.items()
        if not torch.equal(tensor, states[1].tensors[key])
    ]
    assert not differing
    assert one.method.state_dict().keys() == other.method.state_dict().keys()
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
    assert one.log[:KEPT_AT] == other.log[:KEPT_AT]
    assert one.clock.steps[:KEPT_AT] == other.clock.steps[:KEPT_AT]
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
    assert_equal(*both(plan_of(method), tmp_path))


@pytest.mark.parametrize(
    "overrides",
    [("accumulation=2",), ("optimiser=sgd",), ("channels_last=true",), ("workers=1",)],
    ids=" ".join,
)
def test_however_it_is_trained(overrides, tmp_path):
    assert_equal(*both(plan_of("dacs", *overrides), tmp_path))
