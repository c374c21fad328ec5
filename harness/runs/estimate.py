"""What a run would cost: seconds, memory and disk of its trainings, timed or reckoned."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean
from typing import NamedTuple

import torch

from harness.config.planning import Plan
from harness.measure.flops import gflops, parameters_m
from harness.measure.memory import PeakMemory, baseline
from harness.measure.own_time import own_time
from harness.runs.remaining import TRAINED
from harness.runs.speed.step import SyntheticStep
from harness.training.precision import computing_threads, set_float32
from methods.contract import Method
from methods.networks import zoo

#: A student above this many GFLOPs a crop is not timed on a CPU: one step would take minutes.
CPU_LIMIT_GFLOPS = 40.0
#: Of the schedule, a step of each of which is timed.
PARTS = 10
#: Images a step that are timed at most.
LARGEST_BATCH = 8
#: MiB of a million numbers of 32 bits.
MIB_A_MILLION = 4e6 / 2**20
#: States that a training keeps at a time, and numbers in one for each that is trained: AdamW's.
STATES, STATE_NUMBERS = 2, 3


@dataclass(frozen=True)
class CostEstimate:
    """Of one training; None where this machine is too small to time it."""

    role: str  # student, or frozen teacher
    network: str
    parameters_m: float
    gflops: float  # of a forward pass of one crop
    steps: int
    seconds_a_step: float | None
    memory_mib: float | None  # of the steps that were timed, above what was there; inf: too much
    disk_mib: float | None  # weights, and the states that it keeps while it trains
    batch: int
    timed_batch: int  # images a step that were timed; a larger batch is scaled from it

    @property
    def seconds(self) -> float | None:
        return None if self.seconds_a_step is None else self.seconds_a_step * self.steps


def costs(plan: Plan, device: torch.device) -> list[CostEstimate]:
    """Of the trainings of a run, in their order: frozen teachers that are trained, the student."""
    teachers = [
        _cost("frozen teacher", teacher.plan, device) for teacher in plan.teachers if teacher.plan
    ]
    return [*teachers, _cost("student", plan, device)]


def _cost(role: str, plan: Plan, device: torch.device) -> CostEstimate:
    profile = plan.spec.profile
    parameters, forward = size(plan.spec.student, len(plan.classes), profile.crop)
    seconds = memory = disk = None
    if device.type != "cpu" or forward <= CPU_LIMIT_GFLOPS:
        try:
            step = timed_step(plan, device)
        except torch.OutOfMemoryError:
            memory = math.inf
        else:
            seconds, memory = step.seconds * profile.accumulation, step.memory_mib
            numbers = step.weights_m + STATES * STATE_NUMBERS * step.training_parameters_m
            disk = numbers * MIB_A_MILLION
    return CostEstimate(
        role,
        plan.spec.student,
        parameters,
        forward,
        profile.iterations,
        seconds,
        memory,
        disk,
        profile.batch_size,
        min(profile.batch_size, LARGEST_BATCH),
    )


def reckoned_seconds(plan: Plan) -> float:
    """About how long the students' and teachers' trainings take on this CPU; nothing is trained.

    Their forward passes' operations at the rate of a product of matrices, which no network reaches:
    they take longer.
    """
    seconds = 0.0
    for each in (*(teacher.plan for teacher in plan.teachers if teacher.plan), plan):
        profile = each.spec.profile
        images = profile.iterations * profile.accumulation * profile.batch_size
        crops = images * (2 if each.spec.uses_target else 1)
        seconds += (
            crops
            * TRAINED
            * size(each.spec.student, len(each.classes), profile.crop)[1]
            / _cpu_gflops()
        )
    return seconds


@cache
def _cpu_gflops(side: int = 1024) -> float:
    """Operations a second of this CPU, in units of `gflops`: those of a product of matrices."""
    matrix = torch.randn(side, side)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        matrix @ matrix
        took.append(time.perf_counter() - start)
    return 2 * side**3 / min(took) / 1e9


@cache
def size(network: str, classes: int, crop: tuple[int, int]) -> tuple[float, float]:
    """Parameters in millions and GFLOPs a forward, on tensors without storage where it can be."""
    with torch.device("cpu" if network.startswith("mmseg:") else "meta"):
        student = zoo.build(network, classes)
        return parameters_m(student), gflops(student, crop)


class TimedStep(NamedTuple):
    """A training step: seconds, MiB, and millions of numbers in what is kept of the training."""

    seconds: float
    memory_mib: float
    training_parameters_m: float
    weights_m: float


def timed_step(plan: Plan, device: torch.device) -> TimedStep:
    """Time a step as `step_seconds` does, and see what memory it takes."""
    with PeakMemory(device, baseline=baseline()) as memory:
        seconds, method = _timed(plan, device)
    kept = [network for network in (method.student, method.ema_teacher) if network]
    return TimedStep(seconds, memory.mib, parameters_m(method), sum(map(parameters_m, kept)))


def step_seconds(plan: Plan, device: torch.device) -> float:
    """Seconds of one training step on random images, on average over the schedule.

    A method's cost may change within its schedule, as when it starts to mix: a step in the middle
    of each of PARTS equal parts is timed, twice after one of warm-up, the faster counts; waiting
    for a core that other programs use does not. A batch above LARGEST_BATCH is timed at that and
    scaled, so that none fills the memory.
    """
    return _timed(plan, device)[0]


def _timed(plan: Plan, device: torch.device) -> tuple[float, Method]:
    profile = plan.spec.profile.model_copy(update={"accumulation": 1})
    images = min(profile.batch_size, LARGEST_BATCH)
    plan = replace(plan, spec=plan.spec.model_copy(update={"profile": profile}))
    set_float32(profile.tf32)
    training = SyntheticStep(plan, device, images=images)
    took = []
    with computing_threads(profile.threads, device):
        for part in range(PARTS):
            step = (2 * part + 1) * profile.iterations // (2 * PARTS)
            # Steps of three numbers: an EMA teacher moves once a number.
            first, second, third = (min(step + i, profile.iterations - 1) for i in range(3))
            training.seconds(first)
            took.append(min(training.seconds(each, own_time) for each in (second, third)))
    return fmean(took) * profile.batch_size / images, training.method
