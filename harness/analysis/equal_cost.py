"""Source-only over its training time: what a method's seconds buy without adapting. Pure.

A method's step costs more than source-only's, and a frozen teacher trains before it. What it gains
is held against source-only trained for as long: its score over schedules of several lengths, each
a run of its own, linear between them in the logarithm of steps, and never extrapolated. How many of
its steps a method's seconds are is known where both ran on one machine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.records.schema import Record, Training, hardware


@dataclass(frozen=True)
class Point:
    """Source-only at one length of the schedule."""

    length: int  # times the profile's schedule
    steps: float  # of training
    scores: Mapping[int, float]  # mIoU in percent by seed


@dataclass(frozen=True)
class AtSteps:
    """Source-only at some number of training steps."""

    scores: dict[int, float]  # mIoU in percent by seed
    longest: int | None  # the curve's last length, where it ends before those steps


def seconds_a_step(runs: Iterable[Record]) -> float | None:
    """Median over runs of the training's seconds a step; None where no run says.

    The median, since what else a machine did during one run is no cost of the method.
    """
    known = [seconds_of(r.cost.training) / r.spec.profile.iterations for r in runs if r.cost]
    return median(known) if known else None


def training_seconds(runs: Sequence[Record]) -> float | None:
    """Of a row's run, its frozen teachers' training included; None where not all of it is known."""
    of_teachers = [teacher_seconds(run) for run in runs]
    known = [seconds for seconds in of_teachers if seconds is not None]
    step = seconds_a_step(runs)
    if step is None or len(known) < len(runs):
        return None
    return step * runs[0].spec.profile.iterations + median(known)


def seconds_by_machine(runs: Iterable[Record]) -> dict[str, float]:
    """`training_seconds` of a row's runs on each machine that ran some, where they are known."""
    seconds = {machine: training_seconds(own) for machine, own in by_machine(runs).items()}
    return {machine: known for machine, known in seconds.items() if known is not None}


def times_as_long(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    """What `seconds_by_machine` of one row are of another's; None where they share no machine."""
    ratios = [a[machine] / b[machine] for machine in a if b.get(machine)]
    return median(ratios) if ratios else None


def by_machine(runs: Iterable[Record]) -> dict[str, list[Record]]:
    """The runs of each machine, by the name of its GPU or processor."""
    machines: dict[str, list[Record]] = defaultdict(list)
    for run in runs:
        machines[hardware(run)].append(run)
    return machines


def seconds_of(training: Training) -> float:
    """Of one training: on a CPU those that it computed, which other work does not lengthen."""
    if training.processor_seconds is not None:
        return training.processor_seconds
    return training.wall_seconds


def teacher_seconds(record: Record) -> float | None:
    """Of a run's frozen teachers' training; 0 without one, None where not all of it is known."""
    if not record.spec.teachers:
        return 0.0
    trained = [t.training for t in record.cost.teachers] if record.cost else []
    known = [seconds_of(training) for training in trained if training]
    return sum(known) if known and len(known) == len(trained) else None


def curve(rows: Iterable[Sequence[Record]]) -> list[Point]:
    """The points of source-only's rows, one a length; empty for fewer than two lengths."""
    points = [
        Point(runs[0].spec.profile.length, runs[0].spec.profile.iterations, by_seed(runs))
        for runs in rows
    ]
    return sorted(points, key=lambda point: point.length) if len(points) > 1 else []


def steps_of_as_long(seconds: Mapping[str, float], floor: Iterable[Record]) -> float | None:
    """Steps of source-only that take as long as a row's run, by `seconds_by_machine` of the row.

    Of machines that ran some of `floor`, source-only's runs of every length; the median over them.
    None where there is none.
    """
    step = {machine: seconds_a_step(runs) for machine, runs in by_machine(floor).items()}
    return times_as_long(seconds, {machine: known for machine, known in step.items() if known})


def at_steps(points: Sequence[Point], steps: float) -> AtSteps:
    """The curve at those steps: before its first point the first, after its last the last."""
    after = next((i for i, point in enumerate(points) if point.steps >= steps), len(points))
    if after in (0, len(points)):
        end = points[0] if after == 0 else points[-1]
        return AtSteps(dict(end.scores), end.length if after else None)
    low, high = points[after - 1], points[after]
    share = math.log(steps / low.steps) / math.log(high.steps / low.steps)
    both = [seed for seed in low.scores if seed in high.scores]
    scores = {s: (1 - share) * low.scores[s] + share * high.scores[s] for s in both}
    return AtSteps(scores, None)


def by_seed(runs: Iterable[Record]) -> dict[int, float]:
    """mIoU of the student in percent by seed."""
    return {r.spec.seed: r.metrics.student.miou for r in runs if r.metrics}
