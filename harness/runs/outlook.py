"""`bench sweep --dry-run`: how many runs, and about how many hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.runs.estimate import CPU_LIMIT_GFLOPS, size, step_seconds

if TYPE_CHECKING:
    from harness.runs.sweep import Job
    from harness.runs.workplace import Workplace


def show_outlook(planned: dict[str, Job], workplace: Workplace, side_by_side: int) -> None:
    """Say how many trainings wait, and how long they take one after the other.

    Each kind of training (method, networks, crop) is timed once on random images, at one length.
    """
    waiting = [job for job in planned.values() if job.state == "waiting" and job.trains]
    timed: dict[tuple[object, ...], float | None] = {}
    total, unknown = 0.0, 0
    for job in waiting:
        spec = job.plan.spec
        profile = spec.profile
        networks = tuple(n["network"] for n in (*spec.teachers, *spec.companions))
        same = (spec.method, spec.student, networks, str(spec.method_config), profile.crop)
        if same not in timed:
            _, forward = size(spec.student, profile.crop)
            too_large = workplace.device.type == "cpu" and forward > CPU_LIMIT_GFLOPS
            timed[same] = None if too_large else step_seconds(job.plan, workplace.device)
        seconds = timed[same]
        if seconds is None:
            unknown += 1
        else:
            total += seconds * profile.accumulation * profile.iterations
    hours = total / 3600
    workplace.report.say(
        f"{len(waiting)} trainings to do: about {hours:.1f} hours one after the other on this "
        f"{workplace.device.type}, loading and scoring aside"
    )
    if side_by_side > 1:
        workplace.report.say(f"with --jobs {side_by_side} less, by what this machine has to spare")
    if unknown:
        workplace.report.say(
            f"{unknown} of them are too large to be timed on a CPU: ask for --device cuda on a "
            "machine with a GPU"
        )
