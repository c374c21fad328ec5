"""`--dry-run`: the resolved run, and what it would cost."""

from __future__ import annotations

import json
import time
from functools import cache

import torch
from rich.console import Console

from harness.config.planning import Plan
from harness.measure.clock import synchronise
from harness.measure.flops import gflops, parameters_m
from harness.runs.training import build_method
from harness.training.trainer import Trainer
from methods.contract import Batch
from methods.networks import zoo

#: A student above this many GFLOPs a crop is not timed on a CPU: one step would take minutes.
CPU_LIMIT_GFLOPS = 40.0


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
def size(network: str, crop: tuple[int, int]) -> tuple[float, float]:
    """Parameters in millions and GFLOPs a forward, on tensors without storage where it can be."""
    with torch.device("cpu" if network.startswith("mmseg:") else "meta"):
        student = zoo.build(network)
        return parameters_m(student), gflops(student, crop)


def _show_time(plan: Plan, device: torch.device, console: Console) -> None:
    profile = plan.spec.profile
    _, forward = size(plan.spec.student, profile.crop)
    if device.type == "cpu" and forward > CPU_LIMIT_GFLOPS:
        console.print("too large to be timed on a CPU: ask for --device cuda on a GPU machine")
        return
    seconds = step_seconds(plan, device) * profile.accumulation
    total = seconds * profile.iterations
    console.print(
        f"{seconds * 1e3:.0f} ms a step measured on random images here ({device.type}): about "
        f"{total / 60:.1f} minutes for {profile.iterations} iterations, loading and evaluation "
        "aside",
        highlight=False,
    )


def step_seconds(plan: Plan, device: torch.device, steps: int = 3) -> float:
    """Seconds of one training step on random images, the fastest of a few after one of warm-up.

    Steps are those of the schedule's end, when every term is active.
    """
    profile = plan.spec.profile
    if profile.threads and device.type == "cpu":
        torch.set_num_threads(profile.threads)
    teachers = [zoo.build(teacher.network) for teacher in plan.teachers]
    method = build_method(plan, zoo.build(plan.spec.student), teachers).to(device)
    method.train()
    size = (profile.batch_size, *profile.crop)
    image = torch.randn(size[0], 3, *size[1:], device=device)
    label = torch.randint(0, 19, size, device=device)
    batch = Batch(image, label, image, label)
    trainer = Trainer(method, profile.model_copy(update={"accumulation": 1}), device)
    took = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        trainer.step([batch], profile.iterations - 1)
        synchronise(device)
        took.append(time.perf_counter() - start)
    return min(took[1:])
