"""`--dry-run`: the resolved run, and what it would cost."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from statistics import fmean

import torch
from rich.console import Console

from harness.config.planning import Plan
from harness.measure.flops import gflops, parameters_m
from harness.runs.speed.step import SyntheticStep
from harness.training.precision import computing_threads, set_float32
from methods.networks import zoo

#: A student above this many GFLOPs a crop is not timed on a CPU: one step would take minutes.
CPU_LIMIT_GFLOPS = 40.0
#: Of the schedule, a step of each of which is timed.
PARTS = 10
#: Images a step that are timed at most.
LARGEST_BATCH = 8


def show_estimate(plan: Plan, device: torch.device, console: Console) -> None:
    """Print the spec as JSON, then the student's size and the time of the training steps."""
    spec = plan.spec
    if plan.sources.notice:
        console.print(plan.sources.notice, highlight=False)
    console.print_json(json.dumps(spec.model_dump(mode="json")))
    parameters, forward = size(spec.student, spec.profile.crop)
    console.print(
        f"run {spec.run_id}, weights {spec.weights_id}: student of {parameters:.2f} M "
        f"parameters, {forward:.1f} GFLOPs a forward of one crop",
        highlight=False,
    )
    for planned in (plan, *(teacher.plan for teacher in plan.teachers if teacher.plan)):
        if planned.missing_init:
            console.print(planned.missing_init, highlight=False, markup=False, soft_wrap=True)
    for teacher in plan.teachers:
        if teacher.plan:
            console.print(f"frozen teacher {teacher.network}, trained first unless found:")
            _show_time(teacher.plan, device, console)
    _show_time(plan, device, console)


@cache
def size(network: str, classes: int, crop: tuple[int, int]) -> tuple[float, float]:
    """Parameters in millions and GFLOPs a forward, on tensors without storage where it can be."""
    with torch.device("cpu" if network.startswith("mmseg:") else "meta"):
        student = zoo.build(network, classes)
        return parameters_m(student), gflops(student, crop)


def _show_time(plan: Plan, device: torch.device, console: Console) -> None:
    profile = plan.spec.profile
    _, forward = size(plan.spec.student, len(plan.classes), profile.crop)
    if device.type == "cpu" and forward > CPU_LIMIT_GFLOPS:
        console.print("too large to be timed on a CPU: ask for --device cuda on a GPU machine")
        return
    seconds = step_seconds(plan, device) * profile.accumulation
    total = seconds * profile.iterations
    scaled = ""
    if profile.batch_size > LARGEST_BATCH:
        scaled = f", timed with {LARGEST_BATCH} images and scaled to {profile.batch_size}"
    console.print(
        f"{seconds * 1e3:.0f} ms a step on average over the schedule, measured on random images "
        f"here ({device.type}){scaled}: about {total / 60:.1f} minutes for {profile.iterations} "
        "iterations, loading and evaluation aside",
        highlight=False,
    )


def step_seconds(plan: Plan, device: torch.device) -> float:
    """Seconds of one training step on random images, on average over the schedule.

    A method's cost may change within its schedule, as when it starts to mix: a step in the middle
    of each of PARTS equal parts is timed, twice after one of warm-up, the faster counts. A batch
    above LARGEST_BATCH is timed at that and scaled, so that none fills the memory.
    """
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
            took.append(min(training.seconds(second), training.seconds(third)))
    return fmean(took) * profile.batch_size / images
