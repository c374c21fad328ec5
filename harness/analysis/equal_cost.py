"""Source-only over its training time: what a method's seconds buy without adapting. Pure.

A method's step costs more than source-only's, and a frozen teacher trains before it. What it gains
is held against source-only trained for as long: its score over schedules of several lengths, each
a run of its own, linear between them in the logarithm of seconds, and never extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.records.schema import Record, Training


@dataclass(frozen=True)
class Point:
    """Source-only at one length of the schedule."""

    length: int  # times the profile's schedule
    seconds: float  # of training
    scores: Mapping[int, float]  # mIoU in percent by seed


@dataclass(frozen=True)
class AtSeconds:
    """Source-only at some seconds of training."""

    scores: dict[int, float]  # mIoU in percent by seed
    longest: int | None  # the curve's last length, where it ends before those seconds


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
    by_length = {runs[0].spec.profile.length: runs for runs in rows}
    step = seconds_a_step(run for runs in by_length.values() for run in runs)
    if step is None or len(by_length) < 2:
        return []
    return [
        Point(length, step * runs[0].spec.profile.iterations, by_seed(runs))
        for length, runs in sorted(by_length.items())
    ]


def at_seconds(points: Sequence[Point], seconds: float) -> AtSeconds:
    """The curve at those seconds: before its first point the first, after its last the last."""
    after = next((i for i, point in enumerate(points) if point.seconds >= seconds), len(points))
    if after in (0, len(points)):
        end = points[0] if after == 0 else points[-1]
        return AtSeconds(dict(end.scores), end.length if after else None)
    low, high = points[after - 1], points[after]
    share = math.log(seconds / low.seconds) / math.log(high.seconds / low.seconds)
    both = [seed for seed in low.scores if seed in high.scores]
    scores = {s: (1 - share) * low.scores[s] + share * high.scores[s] for s in both}
    return AtSeconds(scores, None)


def by_seed(runs: Iterable[Record]) -> dict[int, float]:
    """mIoU of the student in percent by seed."""
    return {r.spec.seed: r.metrics.student.miou for r in runs if r.metrics}
