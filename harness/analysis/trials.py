"""What the trials of a search for knobs say, by the rule that compares them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.equal_cost import seconds_of
from harness.analysis.statistics import Summary, summary
from harness.evaluation.validators import HIGHER_IS_BETTER, merit
from harness.records.schema import CurvePoint, NetworkScores, Record

#: What stands in a table of trials by each rule.
RULE_TITLES = {
    "oracle": "mIoU % (target labels)",
    "entropy": "entropy, nats (lower is better)",
    "infomax": "infomax, nats",
    "snd": "soft neighbourhood density, nats",
    "agreement": "agreement with EMA teacher %",
}


@dataclass(frozen=True)
class Trial:
    """One setting of the knobs, and its runs: one a seed, those that failed left out."""

    number: int  # from 1
    knobs: dict[str, Any]
    runs: list[Record]
    seeds: int  # runs that there should be

    def merit(self, rule: str) -> float:
        """The mean of its runs, the higher the better; NaN where one of them has no such figure."""
        if len(self.runs) < self.seeds:
            return math.nan
        return summary(_merit(run, rule) for run in self.runs).mean

    def figure(self, rule: str) -> float:
        """The same in its own unit and sign."""
        merit = self.merit(rule)
        return merit if HIGHER_IS_BETTER.get(rule, True) else -merit

    @property
    def miou(self) -> Summary:
        """Of the student at the last iteration, percent; NaN of a target without labels."""
        return mean_miou(self.runs)

    @property
    def seconds(self) -> float:
        """Of training, all its runs, frozen teachers that they share aside."""
        return sum(seconds_of(run.cost.training) for run in self.runs if run.cost)


def ranked(trials: Iterable[Trial], rule: str) -> list[Trial]:
    """The best first, of equal ones the earlier; those without a figure last."""

    def order(trial: Trial) -> tuple[bool, float]:
        merit = trial.merit(rule)
        return (True, 0.0) if math.isnan(merit) else (False, -merit)

    return sorted(trials, key=order)


def best(trials: Iterable[Trial], rule: str) -> Trial | None:
    """None where no trial has a figure."""
    first = next(iter(ranked(trials, rule)), None)
    return None if first is None or math.isnan(first.merit(rule)) else first


def budget_seconds(trials: Iterable[Trial]) -> float:
    """Of training, all trials and their frozen teachers', each training counted once.

    Trials that share a teacher's weights paid for it once; a teacher of a given checkpoint is free.
    """
    runs = {run.run_id: run.cost for trial in trials for run in trial.runs if run.cost}
    teachers = {
        teacher.weights_id: seconds_of(teacher.training)
        for cost in runs.values()
        for teacher in cost.teachers
        if teacher.training
    }
    return sum(seconds_of(cost.training) for cost in runs.values()) + sum(teachers.values())


def mean_miou(runs: Sequence[Record]) -> Summary:
    return summary(run.metrics.student.miou for run in runs if run.metrics)


def _merit(run: Record, rule: str) -> float:
    """What the rule looks at after the last iteration; NaN where the run was not scored so."""
    metrics = run.metrics
    if metrics is None:
        return math.nan
    if rule == "oracle":
        return metrics.student.miou
    point = metrics.curve.points[-1] if metrics.curve and metrics.curve.points else None
    if point is None and (of := metrics.label_free):  # a target without labels
        student = NetworkScores(miou=math.nan, **of.student.model_dump())
        steps = run.spec.profile.iterations
        point = CurvePoint(step=steps, student=student, agreement=of.agreement)
    value = merit(point, rule, "student") if point else None
    return math.nan if value is None else value
