"""How long a suite's trainings take: what makes a step another one is timed apart."""

from __future__ import annotations

import itertools

import pytest
import torch

from harness.config.planning import Request, resolve
from harness.errors import explained
from harness.runs import estimate, outlook
from harness.runs.graph import Job


def test_each_kind_of_step_is_timed_once(monkeypatch):
    timed = []

    def step_seconds(plan, device):
        timed.append(plan.spec.profile.batch_size)
        return float(plan.spec.profile.batch_size)

    monkeypatch.setattr(outlook, "step_seconds", step_seconds)
    settings = {
        "one": ["batch_size=1"],
        "four": ["batch_size=4"],
        "accumulated": ["batch_size=1", "accumulation=2"],
        "longer": ["batch_size=1", "iterations=30", "lr=0.5"],
    }
    jobs = {}
    for name, overrides in settings.items():
        request = Request(
            method="source_only",
            scenario="gta2cs",
            student="test_mit",
            overrides=("iterations=10", *overrides),  # the last of equal keys holds
        )
        jobs[name] = Job(resolve(request), set())
    seconds = outlook.training_seconds(jobs, torch.device("cpu"))
    assert seconds == {"one": 10.0, "four": 40.0, "accumulated": 20.0, "longer": 30.0}
    assert timed == [1, 4]


def test_what_does_not_fit_into_the_memory_is_not_timed(monkeypatch):
    def too_much(plan, device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(outlook, "step_seconds", too_much)
    plan = resolve(Request(method="source_only", scenario="gta2cs", student="test_mit"))
    assert outlook.training_seconds({"one": Job(plan, set())}, torch.device("cpu")) == {"one": None}


@pytest.mark.parametrize("said", ["Tried to allocate 2.00 GiB", "you tried to allocate 2 bytes"])
def test_too_little_memory_has_a_remedy_whoever_says_it(said):
    assert "--set batch_size=1" in explained(RuntimeError(f"out of memory. {said}."))


def test_waiting_for_a_core_that_other_programs_use_is_not_of_a_step(monkeypatch):
    seconds = itertools.count(0, 3)  # of the clock that leaves waiting out, by its calls
    monkeypatch.setattr(estimate, "own_time", lambda: float(next(seconds)))
    request = Request(
        method="source_only", scenario="gta2cs", profile="gate", student="test_mit", init="none"
    )
    assert estimate.step_seconds(resolve(request), torch.device("cpu")) == 3.0
