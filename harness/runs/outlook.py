"""`bench sweep --dry-run`: how many runs, and about how many hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.errors import BenchError
from harness.runs.estimate import CPU_LIMIT_GFLOPS, size, step_seconds
from harness.runs.training import check_what_is_there
from methods import registry

if TYPE_CHECKING:
    from harness.config.planning import Plan
    from harness.runs.graph import Job
    from harness.runs.workplace import Workplace

#: Of a profile what no step's time depends on: schedules, start weights, images before the crop.
UNTIMED = {
    *("accumulation", "iterations", "teacher_iterations", "length", "lr", "warmup"),
    *("init", "teacher_init", "image_size", "longest_side", "image_scale", "generated"),
    *("log_every", "checkpoint_every", "score_every", "workers", "data_store"),
}


def show_outlook(planned: dict[str, Job], workplace: Workplace, side_by_side: int) -> bool:
    """Say how many trainings wait, and how long they take one after the other -> whether all can.

    Each is timed as `training_seconds` says, but those whose data or teacher's file is not as they
    need it: these are named with the reason.
    """
    waiting = {
        run_id: job for run_id, job in planned.items() if job.state == "waiting" and job.trains
    }
    reasons = failing(waiting)
    possible = {run_id: job for run_id, job in waiting.items() if run_id not in reasons}
    seconds = training_seconds(possible, workplace.device)
    total = sum(value for value in seconds.values() if value is not None)
    unknown = sum(value is None for value in seconds.values())
    hours = total / 3600
    workplace.report.say(
        f"{len(possible)} trainings to do: about {hours:.1f} hours one after the other on this "
        f"{workplace.device.type}, loading, scoring and other programs aside"
    )
    if side_by_side > 1:
        workplace.report.say(f"with --jobs {side_by_side} less, by what this machine has to spare")
    if unknown:
        workplace.report.say(
            f"{unknown} of them are too large to be timed on this {workplace.device.type}: ask for "
            "--device cuda on a machine with a GPU large enough"
        )
    for reason in dict.fromkeys(reasons.values()):
        names = [waiting[run_id].name for run_id, why in reasons.items() if why == reason]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        workplace.report.say(f"would fail: {names[0]}{more}: {reason}")
    return not reasons


def failing(jobs: dict[str, Job]) -> dict[str, str]:
    """Why a job would stop before its first step, by run_id, of those that would."""
    outcome: dict[tuple[object, ...], str] = {}
    for job in jobs.values():
        if (key := _needs(job)) not in outcome:
            try:
                check_what_is_there(job.plan)
                outcome[key] = ""
            except BenchError as error:
                outcome[key] = str(error)
    return {run_id: why for run_id, job in jobs.items() if (why := outcome[_needs(job)])}


def _needs(job: Job) -> tuple[object, ...]:
    """What a training finds or misses: its data, its labels, its teachers' files."""
    spec, target = job.plan.spec, job.plan.sources.target
    return (
        *(repr(part) for part in (spec.source, spec.target, target.splits)),
        spec.scenario.name,
        registry.load(spec.method).needs_target_labels,
        *(teacher.checkpoint for teacher in job.plan.teachers),
    )


def training_seconds(jobs: dict[str, Job], device: torch.device) -> dict[str, float | None]:
    """Seconds of each job's training, loading and scoring aside, by run_id.

    Each kind of training (method, networks, what a profile sets of a step) is timed once on random
    images, whatever its schedule. None where this machine cannot: networks that are too large for
    it, and what asks for a GPU where there is none.
    """
    timed: dict[tuple[object, ...], float | None] = {}
    seconds: dict[str, float | None] = {}
    for run_id, job in jobs.items():
        spec, profile = job.plan.spec, job.plan.spec.profile
        networks = tuple(n["network"] for n in (*spec.teachers, *spec.companions))
        settings = profile.model_dump_json(exclude=UNTIMED)
        same = (spec.method, spec.student, networks, str(spec.method_config), settings)
        if same not in timed:
            timed[same] = _timed(job.plan, device)
        step = timed[same]
        steps = profile.accumulation * profile.iterations
        seconds[run_id] = None if step is None else step * steps
    return seconds


def _timed(plan: Plan, device: torch.device) -> float | None:
    if device.type == "cuda" and not torch.cuda.is_available():
        return None
    if device.type != "cuda":
        _, forward = size(plan.spec.student, len(plan.classes), plan.spec.profile.crop)
        if forward > CPU_LIMIT_GFLOPS:
            return None
    try:
        return step_seconds(plan, device)
    except torch.OutOfMemoryError:
        return None
