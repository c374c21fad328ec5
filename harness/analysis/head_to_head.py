"""Two methods side by side: what one gains over the other, by class too, and at what cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from harness.analysis.comparison import newest, same_conditions, spelled_differences
from harness.analysis.equal_cost import (
    by_machine,
    by_seed,
    seconds_a_step,
    teacher_seconds,
    training_seconds,
)
from harness.analysis.provenance import mixture
from harness.analysis.rows import (
    ENOUGH_SEEDS,
    by_label,
    noise_of,
    rows_of,
    shared_noise,
    table_rows,
)
from harness.analysis.statistics import Deviations, Difference, Noise, corrected, difference
from harness.errors import BenchError
from harness.records.schema import Record, ScoredNetwork, hardware, unlabelled

#: Options of the command line that narrow a choice of runs, by the condition that they name.
OPTIONS = {"scenario": "--scenario", "profile": "--profile"}


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
    a: Side
    b: Side
    difference: Difference  # b - a
    noise: Deviations | None
    pooled_rows: int  # whose deviation the test takes
    classes: dict[str, Difference | None]  # b - a; p_holm over the classes
    notes: list[str]  # what their code and machines differ in


def head_to_head(
    names: tuple[str, str],
    a: Sequence[Record],
    b: Sequence[Record],
    others: Sequence[Record],
    network: ScoredNetwork = "student",
) -> HeadToHead:
    """Compare the runs of b with those of a, as the rows of one table.

    `names` is what the user calls them, `others` the records whose rows share the noise: those
    that are comparable are used. With `network` "ema_teacher" every run is scored by that, and one
    that has none by its student. BenchError where neither of the two has one, where they may not be
    compared, or are several rows.
    """
    if network == "ema_teacher":
        if not any(map(_has_ema_teacher, [*a, *b])):
            raise BenchError(
                f"{names[0]} and {names[1]} have no EMA teacher to compare; expected a method that "
                "trains one."
            )
        a, b, others = map(_by_ema_teacher, (a, b, others))
    a, b = _comparable_runs(names, _done(a), _done(b))
    a, b = _one_row(names[0], a), _one_row(names[1], b)
    if all(map(unlabelled, [*a, *b])):
        raise BenchError(
            f"{names[0]} and {names[1]}: their target has no labels to score on; expected runs of "
            "a scenario whose target has some."
        )
    if broken := [run for run in (*a, *b) if not math.isfinite(_miou(run))]:
        raise BenchError(
            f"{', '.join(run.run_id for run in broken)}: an mIoU that is no number found, of "
            "weights that broke in training; run it again, or name runs without it."
        )
    pairs, _ = table_rows([*a, *b])
    if len(pairs) == 1:
        raise BenchError(
            f"{names[0]} and {names[1]} are runs of the same settings: two methods, or two "
            "settings of one, expected."
        )
    labels = by_label(pairs)
    of_run = {run.run_id: label for label, runs in labels.items() for run in runs}
    candidates = [*(r for r in _done(others) if r.run_id not in of_run), *a, *b]
    rows = rows_of(next(alike for alike in same_conditions(candidates) if a[0] in alike))
    shared = shared_noise(rows)
    spec = a[0].spec
    a_cost, b_cost = map(_cost, _on_one_machine(a, b))
    noises = _noises(b, a, shared)
    return HeadToHead(
        scenario=spec.scenario.name,
        profile=spec.profile.name,
        convention=spec.scenario.convention,
        a=_side(_named(of_run[a[0].run_id], a, network), a, a_cost),
        b=_side(_named(of_run[b[0].run_id], b, network), b, b_cost),
        difference=difference(by_seed(b), by_seed(a), *noises),
        noise=shared,
        pooled_rows=sum(noise.rows for noise in set(noises) if noise),
        classes=_classes(a, b, rows),
        notes=mixture({of_run[runs[0].run_id]: runs for runs in (a, b)}),
    )


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


def _done(records: Sequence[Record]) -> list[Record]:
    return newest(r for r in records if r.state == "done" and r.metrics)[0]


def _comparable_runs(
    names: tuple[str, str], a: Sequence[Record], b: Sequence[Record]
) -> tuple[list[Record], list[Record]]:
    """Those of the two that may share a table: of one kind only, or nothing says which."""
    ids_a, ids_b = {r.run_id for r in a}, {r.run_id for r in b}
    groups = same_conditions(newest([*a, *b])[0])
    both = [g for g in groups if any(r.run_id in ids_a for r in g)
            and any(r.run_id in ids_b for r in g)]  # fmt: skip
    if not both:
        differing = spelled_differences([a[0], b[0]])
        how = "; ".join(f"{name} {' against '.join(v)}" for name, v in differing.items())
        raise BenchError(f"{names[0]} and {names[1]} may not be compared: {how}.")
    if len(both) > 1:
        differing = spelled_differences([group[0] for group in both])
        options = [OPTIONS[name] for name in differing if name in OPTIONS]
        named = {n: values for n, values in differing.items() if n in OPTIONS} or differing
        what = "; ".join(f"{name} {', '.join(values)}" for name, values in named.items())
        raise BenchError(
            f"{names[0]} and {names[1]}: runs of {what} found, which may not be mixed; name one: "
            f"{', '.join(options) or 'run ids or record files'}."
        )
    return (
        [r for r in both[0] if r.run_id in ids_a],
        [r for r in both[0] if r.run_id in ids_b],
    )


def _one_row(name: str, runs: Sequence[Record]) -> list[Record]:
    rows = by_label(table_rows(runs)[0])
    if len(rows) > 1:
        listed = "; ".join(
            f"{label} ({', '.join(run.run_id for run in of_row)})" for label, of_row in rows.items()
        )
        raise BenchError(
            f"{name}: runs of {len(rows)} settings found, of one expected; name one by --length, "
            f"--suite, --student, --teacher, METHOD:KEY=VALUE or a run: {listed}."
        )
    return next(iter(rows.values()))


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
    chance = "" if gain.significant or math.isnan(gain.p) else ", which chance explains as well"
    said = f"{result.b.label} scores {abs(gain.mean):.1f} points {more} than {result.a.label}"
    return f"{said}{chance} ({_evidence(result)}){_at_what_cost(result.a.cost, result.b.cost)}."


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


def _teachers_share(a: float | None, b: float | None) -> str:
    if a is None or b is None:
        return " (frozen teachers' training left out: not all of it is known)"
    if a and b:
        return f" (frozen teachers included: {b:.0f} s and {a:.0f} s)"
    if a:
        return f" ({a:.0f} s of the other's frozen teacher included)"
    return f" (its frozen teacher's {b:.0f} s included)" if b else ""
