"""`bench run --dry-run`: what a run would cost, and what it changes of its profile."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import typer
from rich.console import Console

from harness.config.planning import Plan
from harness.config.search_space import spelled
from harness.files import free_bytes
from harness.report.cells import number
from harness.report.formats import finite
from harness.report.pace import duration
from harness.report.progress import Reporter
from harness.runs.estimate import CostEstimate, costs, reckoned_seconds
from harness.runs.memory_estimate import gpu_memory
from harness.runs.training import check_what_is_there

#: A run that a CPU takes longer for is asked about first.
LONG_SECONDS = 12 * 3600.0


def show(
    plan: Plan, plain: Plan, device: torch.device, results: Path, form: Literal["text", "json"]
) -> None:
    """Print the cost, then what differs from `plain`, the same run with nothing but defaults."""
    check_what_is_there(plan)
    each = costs(plan, device)
    differs = dict(differences(plan, plain))
    if form == "json":
        print(json.dumps(_as_json(plan, each, differs, device), indent=1))
        return
    report = Reporter(Console())
    if plan.sources.notice:
        report.say(plan.sources.notice)
    if plan.profile_note:
        report.say(plan.profile_note)
    for line in (*_cost_lines(each, device, results), _gpu(plan, each, device), *_warnings(plan)):
        report.say(line)
    spec = plan.spec
    report.say(f"run {spec.run_id}, weights {spec.weights_id}")
    which = f"profile {spec.profile.name} and the method's defaults"
    report.say(f"differs from {which}:" if differs else f"all is as {which} say")
    for name, (value, default) in differs.items():
        report.say(f"  {name} {spelled(value)} (default {spelled(default)})")
    report.say("--format json prints the whole run")


def _cost_lines(each: list[CostEstimate], device: torch.device, results: Path) -> Iterator[str]:
    seconds = [cost.seconds for cost in each]
    known = [value for value in seconds if value is not None]
    if len(known) < len(seconds):
        yield (
            "cost: not known, some of it is too large to be timed on a CPU: ask for --device cuda "
            "on a GPU machine"
        )
    else:
        yield (
            f"cost: about {_hours(sum(known))} of training on this {device.type}, loading, "
            "evaluation and other programs aside"
        )
    for cost in each:
        yield f"  {_cost_line(cost)}"
    memory = [cost.memory_mib for cost in each if cost.memory_mib is not None]
    if memory and math.isfinite(max(memory)):
        yield f"memory: about {max(memory):.0f} MiB at most, without the loader's workers"
    disk = [cost.disk_mib for cost in each if cost.disk_mib is not None]
    if disk:
        free = free_bytes(results) / 2**20
        yield f"disk: about {sum(disk):.0f} MiB in {results}, {free:.0f} MiB free"


def _gpu(plan: Plan, each: list[CostEstimate], device: torch.device) -> str:
    student = each[-1]
    gib = None if student.memory_mib is None else student.memory_mib / 1024
    return f"GPU: {gpu_memory(plan, device, gib, student.timed_batch)}"


def _cost_line(cost: CostEstimate) -> str:
    network = (
        f"{cost.role} {cost.network} ({cost.parameters_m:.2f} M parameters, {number(cost.gflops)} "
        f"GFLOPs a forward pass of one crop): {cost.steps} steps"
    )
    if cost.seconds is None or cost.seconds_a_step is None:
        return network
    scaled = ""
    if cost.timed_batch < cost.batch:
        scaled = f", timed with {cost.timed_batch} images and scaled to {cost.batch}"
    step = f"{cost.seconds_a_step * 1e3:.0f} ms a step{scaled}"
    return f"{network}, {duration(cost.seconds)} at {step}"


def _warnings(plan: Plan) -> Iterator[str]:
    for planned in (plan, *(teacher.plan for teacher in plan.teachers if teacher.plan)):
        if planned.missing_init:
            yield planned.missing_init


def differences(plan: Plan, plain: Plan) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """What a plan has that the plain one has not: name -> (value, default)."""
    own, default = _named(plan), _named(plain)
    for name in dict.fromkeys([*own, *default]):
        if own.get(name) != default.get(name):
            yield name, (own.get(name), default.get(name))


def _named(plan: Plan) -> dict[str, Any]:
    """The settings of a plan that a user can change, by name."""
    spec = plan.spec.model_dump(mode="json")
    return {
        "student": spec["student"],
        "teachers": [network["network"] for network in (*spec["teachers"], *spec["companions"])],
        "init": spec["init"],
        "seed": spec["seed"],
        **_flat({"scenario": spec["scenario"]}),
        **_flat(spec["profile"]),
        **_flat(spec["method_config"]),
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables within as `name.key`, as --set takes them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{duration(seconds)} minutes"


def _as_json(
    plan: Plan, each: list[CostEstimate], differs: dict[str, tuple[Any, Any]], device: torch.device
) -> dict[str, Any]:
    seconds = [cost.seconds for cost in each]
    return {
        "run_id": plan.spec.run_id,
        "weights_id": plan.spec.weights_id,
        "device": str(device),
        "seconds": None if None in seconds else sum(filter(None, seconds)),
        "gpu": _gpu(plan, each, device).removeprefix("GPU: "),
        "trainings": [finite({**asdict(cost), "seconds": cost.seconds}) for cost in each],
        "differs": {
            name: {"value": value, "default": default} for name, (value, default) in differs.items()
        },
        "notes": [*filter(None, [plan.sources.notice, plan.profile_note]), *_warnings(plan)],
        "spec": plan.spec.model_dump(mode="json"),
    }


def confirm_long_run(plan: Plan, device: torch.device) -> None:
    """Ask on a terminal, else warn, before a CPU trains for long. typer.Exit for a no."""
    if device.type != "cpu" or (seconds := reckoned_seconds(plan)) < LONG_SECONDS:
        return
    warning = (
        f"profile {plan.spec.profile.name} on this CPU takes more than {duration(seconds)} "
        f"({seconds / 86400:.1f} days) of training, reckoned from its operations; --profile tiny, "
        "and photo for photographs, are made for a CPU; --dry-run says more"
    )
    if sys.stdin.isatty() and sys.stdout.isatty():
        typer.echo(warning)
        if not typer.confirm("Train on the CPU all the same?"):
            typer.echo("nothing was run")
            raise typer.Exit(1)
    else:
        print(f"warning: {warning}", file=sys.stderr)
