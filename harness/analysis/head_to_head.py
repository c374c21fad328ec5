"""Two rows side by side: what one gains over the other, by class too, and at what cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from harness.analysis.comparison import same_conditions
from harness.analysis.equal_cost import (
    by_machine,
    by_seed,
    seconds_a_step,
    teacher_seconds,
    training_seconds,
)
from harness.analysis.match_ups import MatchUp, done
from harness.analysis.provenance import mixture
from harness.analysis.rows import ENOUGH_SEEDS, noise_of, rows_of, shared_noise
from harness.analysis.statistics import Deviations, Difference, Noise, corrected, difference
from harness.errors import BenchError
from harness.records.schema import Record, ScoredNetwork, hardware, unlabelled


@dataclass(frozen=True)
class TrainingCost:
    """What training takes. Seconds with the frozen teachers', where all of them are known."""

    seconds: float
    teacher_seconds: float | None  # of those; None: not known, and not among the seconds
    memory_mib: float
    memory_kind: str
    machine: str


@dataclass(frozen=True)
class Side:
    """One of the two: its runs' seeds and scores, in percent."""

    label: str
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    iou: dict[str, float | None]  # by class, mean over seeds
    cost: TrainingCost | None


@dataclass(frozen=True)
class HeadToHead:
    """b against a, on one scenario and profile."""

    scenario: str
    profile: str
    convention: str
    network: ScoredNetwork
    a: Side
    b: Side
    difference: Difference  # b - a; not tested below ENOUGH_SEEDS, as in a table
    noise: Deviations | None
    pooled_rows: int  # whose deviation the test takes
    classes: dict[str, Difference | None]  # b - a; p_holm over the classes
    notes: list[str]  # what their code and machines differ in


def head_to_head(
    match_up: MatchUp, others: Sequence[Record], network: ScoredNetwork = "student"
) -> HeadToHead:
    """Compare a row's runs with another's, as the rows of one table.

    `others` are the records whose rows share the noise: those that are comparable are used. With
    `network` "ema_teacher" every run is scored by that, and one that has none by its student.
    BenchError where neither of the two has one, or a score is missing.
    """
    a, b, labels = match_up.a, match_up.b, match_up.labels
    if network == "ema_teacher":
        if not has_ema_teachers(match_up):
            raise BenchError(
                f"{labels[0]} and {labels[1]} have no EMA teacher to compare; expected a method "
                "that trains one."
            )
        a, b, others = map(_by_ema_teacher, (a, b, others))
    if all(map(unlabelled, [*a, *b])):
        raise BenchError(
            f"{labels[0]} and {labels[1]}: their target has no labels to score on; expected runs "
            "of a scenario whose target has some."
        )
    if broken := [run for run in (*a, *b) if not math.isfinite(_miou(run))]:
        raise BenchError(
            f"{', '.join(run.run_id for run in broken)}: an mIoU that is no number found, of "
            "weights that broke in training; run it again, or name runs without it."
        )
    own = {run.run_id for run in (*a, *b)}
    candidates = [*(r for r in done(others) if r.run_id not in own), *a, *b]
    rows = rows_of(next(alike for alike in same_conditions(candidates) if a[0] in alike))
    shared = shared_noise(rows)
    spec = a[0].spec
    a_cost, b_cost = map(_cost, _on_one_machine(a, b))
    noises = _noises(b, a, shared)
    gain = difference(by_seed(b), by_seed(a), *noises)
    return HeadToHead(
        scenario=spec.scenario.name,
        profile=spec.profile.name,
        convention=spec.scenario.convention,
        network=network,
        a=_side(_named(labels[0], a, network), a, a_cost),
        b=_side(_named(labels[1], b, network), b, b_cost),
        difference=replace(gain, tested=gain.n >= ENOUGH_SEEDS),
        noise=shared,
        pooled_rows=sum(noise.rows for noise in set(noises) if noise),
        classes=_classes(a, b, rows),
        notes=mixture({labels[0]: list(a), labels[1]: list(b)}),
    )


def has_ema_teachers(match_up: MatchUp) -> bool:
    """Of one side at least."""
    return any(map(_has_ema_teacher, (*match_up.a, *match_up.b)))


def _by_ema_teacher(records: Sequence[Record]) -> list[Record]:
    """The runs as their EMA teachers score, and those without one as their students do."""
    scored = []
    for record in records:
        if record.metrics and (teacher := record.metrics.ema_teacher):
            metrics = record.metrics.model_copy(update={"student": teacher})
            record = record.model_copy(update={"metrics": metrics})
        scored.append(record)
    return scored


def _miou(record: Record) -> float:
    return record.metrics.student.miou if record.metrics else math.nan


def _has_ema_teacher(record: Record) -> bool:
    return record.metrics is not None and record.metrics.ema_teacher is not None


def _named(label: str, runs: Sequence[Record], network: ScoredNetwork) -> str:
    of_teacher = network == "ema_teacher" and _has_ema_teacher(runs[0])
    return f"{label}'s EMA teacher" if of_teacher else label


def _side(label: str, runs: Sequence[Record], cost: TrainingCost | None) -> Side:
    scores = by_seed(runs)
    names = dict.fromkeys(name for r in runs if r.metrics for name in r.metrics.student.iou)
    by_class = {name: list(_class_by_seed(runs, name).values()) for name in names}
    return Side(
        label=label,
        seeds=tuple(scores),
        scores=tuple(scores.values()),
        iou={name: fmean(values) if values else None for name, values in by_class.items()},
        cost=cost,
    )


def _class_by_seed(runs: Iterable[Record], name: str) -> dict[int, float]:
    scores = {r.spec.seed: r.metrics.student.iou.get(name) for r in runs if r.metrics}
    return {seed: value for seed, value in scores.items() if value is not None}


def _classes(
    a: Sequence[Record], b: Sequence[Record], rows: Sequence[Sequence[Record]]
) -> dict[str, Difference | None]:
    names = dict.fromkeys(n for r in [*a, *b] if r.metrics for n in r.metrics.student.iou)
    differences: list[Difference | None] = []
    for name in names:
        of_a, of_b = _class_by_seed(a, name), _class_by_seed(b, name)
        shared = shared_noise(rows, partial(_class_by_seed, name=name))
        noises = _noises(b, a, shared)
        differences.append(difference(of_b, of_a, *noises) if of_a and of_b else None)
    return dict(zip(names, corrected(differences, ENOUGH_SEEDS), strict=True))


def _noises(
    a: Sequence[Record], b: Sequence[Record], shared: Deviations | None
) -> tuple[Noise | None, Noise | None]:
    return noise_of(a[0].spec.method, shared), noise_of(b[0].spec.method, shared)


def _on_one_machine(
    a: Sequence[Record], b: Sequence[Record]
) -> tuple[Sequence[Record], Sequence[Record]]:
    """Of both the runs of the machine that ran most of both; all of them where none ran both."""
    of_a, of_b = by_machine(a), by_machine(b)
    both = [machine for machine in of_a if machine in of_b]
    if not both:
        return a, b
    most = max(both, key=lambda machine: min(len(of_a[machine]), len(of_b[machine])))
    return of_a[most], of_b[most]


def _cost(runs: Sequence[Record]) -> TrainingCost | None:
    """As a table's row says it: on a CPU seconds that training computed, medians over runs."""
    step = seconds_a_step(runs)
    if step is None:
        return None
    costs = [r.cost.training for r in runs if r.cost]
    whole = training_seconds(runs)
    of_teachers = [seconds for r in runs if (seconds := teacher_seconds(r)) is not None]
    return TrainingCost(
        seconds=step * runs[0].spec.profile.iterations if whole is None else whole,
        teacher_seconds=None if whole is None else fmean(of_teachers),
        memory_mib=max(cost.memory_mib for cost in costs),
        memory_kind=" and ".join(sorted({cost.memory_kind for cost in costs})),
        machine=", ".join(sorted({hardware(run) for run in runs})),
    )


def sentence(result: HeadToHead) -> str:
    """The comparison in one sentence: points, interval, test, n, p and cost."""
    gain = result.difference
    more = "more" if gain.mean >= 0 else "less"
    said = f"{result.b.label} scores {abs(gain.mean):.1f} points {more} than {result.a.label}"
    cost = _at_what_cost(result.a.cost, result.b.cost)
    return f"{said}{_chance(gain)} ({_evidence(result)}){cost}."


def _chance(gain: Difference) -> str:
    if gain.significant:
        return ""
    return ", which chance explains as well" if gain.tested else ", of too few seeds to tell"


def _evidence(result: HeadToHead) -> str:
    gain = result.difference
    sizes = sorted({len(result.a.seeds), len(result.b.seeds)})
    n = f"n = {' and '.join(map(str, sizes))} seed{'s' if sizes[-1] > 1 else ''}"
    if math.isnan(gain.low):
        return f"no interval from {n}"
    test = {
        "paired t": "paired t",
        "Welch t": "Welch's t",
        "pooled t": f"t, deviation of {result.pooled_rows} comparable rows",
    }[gain.test]
    p = "p < 0.001" if gain.p < 0.001 else f"p = {gain.p:.2g}"
    return f"95 % interval {gain.low:.1f} to {gain.high:.1f}; {test}, {n}, {p}"


def _at_what_cost(a: TrainingCost | None, b: TrainingCost | None) -> str:
    if a is None or b is None:
        return ""
    if a.machine != b.machine:
        return f"; costs are of other machines, {a.machine} against {b.machine}"
    share = _teachers_share(a.teacher_seconds, b.teacher_seconds)
    time = f", at {b.seconds / a.seconds:.2g} times the training time{share}"
    memory = f" and {b.memory_mib / a.memory_mib:.3g} times the memory"
    if a.memory_kind != b.memory_kind:
        memory = f"; memory is of two kinds, {b.memory_kind} against {a.memory_kind}"
    return time + memory


def cost_ratios(result: HeadToHead) -> tuple[float | None, float | None]:
    """b's training time and memory over a's; None of what may not be divided."""
    a, b = result.a.cost, result.b.cost
    if a is None or b is None or a.machine != b.machine:
        return None, None
    all_known = (a.teacher_seconds is None) == (b.teacher_seconds is None)
    return (
        b.seconds / a.seconds if all_known else None,
        b.memory_mib / a.memory_mib if a.memory_kind == b.memory_kind else None,
    )


def _teachers_share(a: float | None, b: float | None) -> str:
    if a is None or b is None:
        return " (frozen teachers' training left out: not all of it is known)"
    if a and b:
        return f" (frozen teachers included: {b:.0f} s and {a:.0f} s)"
    if a:
        return f" ({a:.0f} s of the other's frozen teacher included)"
    return f" (its frozen teacher's {b:.0f} s included)" if b else ""
