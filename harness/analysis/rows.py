"""Records of one table -> its rows: figures over seeds, gains over the baseline. Pure."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean, median
from typing import Any

from harness.analysis.equal_cost import (
    AtSteps,
    at_steps,
    by_seed,
    curve,
    seconds_by_machine,
    steps_of_as_long,
    teacher_seconds,
    training_seconds,
)
from harness.analysis.statistics import (
    Deviations,
    Difference,
    Noise,
    Summary,
    corrected,
    deviations,
    difference,
    summary,
)
from harness.analysis.variants import settings, spelled, usual_starts, variant
from harness.records.schema import Metrics, Record, training_speed

BASELINE, ORACLE = "source_only", "oracle"
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class Row:
    """One method with one student, over its seeds. Percent, images per second, MiB, seconds."""

    method: str
    length: int  # of the schedule, in multiples of the profile's
    variant: dict[str, Any]  # the settings that tell it from the method's other rows
    student: str
    teachers: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: tuple[float, ...]  # mIoU by seed
    miou: Summary
    gain: Difference | None  # over source_only with the same student, at as many steps
    gain_at_seconds: Difference | None  # over source_only trained for as long; see equal_cost
    gain_beyond: int | None  # the longest source_only, where the row trained longer than that
    train_seconds: float | None  # of a run, its frozen teachers' training included
    seconds_on: dict[str, float]  # the same of each machine that ran some of its seeds, by its name
    ema_miou: Summary | None
    second_split: str | None  # further images that all runs were scored on
    second_miou: Summary | None  # of the student there
    second_ema_miou: Summary | None
    conventions: dict[str, float]
    figures: dict[str, Summary]  # of registered metrics, by name
    label_free: dict[str, Summary]  # of the student, where the target has no labels
    iou: dict[str, float | None]
    train_images_per_second: float | None
    memory_mib: float | None
    memory_kind: str | None
    inference_images_per_second: float | None
    parameters_m: float | None
    training_parameters_m: float | None  # of every network that training holds
    teacher_miou: Summary | None  # of the frozen teachers themselves, on the same target
    teacher_seconds: float | None  # 0: it has no frozen teacher; None: not known

    @property
    def name(self) -> str:
        """Without its length."""
        return f"{self.method} ({spelled(self.variant)})" if self.variant else self.method

    @property
    def label(self) -> str:
        return with_length(self.name, self.length)


def with_length(name: str, length: int) -> str:
    """`name xN` of a schedule N times as long as the profile's."""
    return name if length == 1 else f"{name} x{length}"


def teachers(record: Record) -> tuple[str, ...]:
    """Frozen ones, and networks trained jointly with the student."""
    networks = [*record.spec.teachers, *record.spec.companions]
    return tuple(str(network.get("network")) for network in networks)


def rows_of(records: Iterable[Record]) -> list[list[Record]]:
    """The records that make a row each: equal but for the seed. They may share a table."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[_parts(record, record.spec.profile.length)].append(record)
    return [sorted(runs, key=lambda r: r.spec.seed) for runs in groups.values()]


def _parts(record: Record, length: int | None) -> str:
    """What tells a row from others; without a length, from those of other settings."""
    spec = record.spec
    parts = [spec.method, spec.student, teachers(record), settings(record), length]
    return json.dumps(parts, sort_keys=True)


def shared_noise(
    groups: Iterable[Sequence[Record]],
    scores: Callable[[Iterable[Record]], Mapping[int, float]] = by_seed,
) -> Deviations | None:
    """Of a single run, over the rows that such groups of records make, by their `scores`."""
    methods: list[Iterable[float]] = []
    baseline: list[Iterable[float]] = []
    for runs in groups:
        side = baseline if runs[0].spec.method == BASELINE else methods
        side.append(scores(runs).values())
    return deviations(methods, baseline)


def noise_of(method: str, shared: Deviations | None) -> Noise | None:
    """Of a row of this method."""
    if shared is None:
        return None
    return shared.baseline if method == BASELINE else shared.methods


def table_rows(
    records: Sequence[Record],
) -> tuple[list[tuple[Row, list[Record]]], Deviations | None]:
    """Each row with the runs that it is of, in a table's order, and the noise they share."""
    groups = rows_of(records)
    shared = shared_noise(groups)
    baselines = [_baselines(runs[0], groups) for runs in groups]
    at_equal_seconds = [
        _at_equal_seconds(runs, baseline) for runs, baseline in zip(groups, baselines, strict=True)
    ]
    gains = [
        _gain(runs, by_seed(baseline[length]), shared)
        if (length := runs[0].spec.profile.length) in baseline
        else None
        for runs, baseline in zip(groups, baselines, strict=True)
    ] + [
        _gain(runs, floor.scores, shared) if floor and floor.scores else None
        for runs, floor in zip(groups, at_equal_seconds, strict=True)
    ]
    tested = corrected(gains, ENOUGH_SEEDS)
    of_steps, of_seconds = tested[: len(groups)], tested[len(groups) :]
    settings_of = [_parts(runs[0], None) for runs in groups]
    columns = zip(
        groups,
        at_equal_seconds,
        at_every_length(of_steps, settings_of),
        at_every_length(of_seconds, settings_of),
        strict=True,
    )
    rows = []
    one_a_row = [runs[0] for runs in groups]  # their settings are those of all
    starts = usual_starts(one_a_row)
    for runs, floor, gain, gain_at_seconds in columns:
        same_method = [r for r in one_a_row if r.spec.method == runs[0].spec.method]
        row = _row(runs, variant(runs[0], same_method, starts))
        beyond = floor.longest if floor else None
        gained = replace(row, gain=gain, gain_at_seconds=gain_at_seconds, gain_beyond=beyond)
        rows.append((gained, runs))
    rank = {BASELINE: 0, ORACLE: 2}

    def order(pair: tuple[Row, list[Record]]) -> tuple[int, str, str, tuple[str, ...], int]:
        row = pair[0]
        return rank.get(row.method, 1), row.name, row.student, row.teachers, row.length

    return sorted(rows, key=order), shared


def row_names(rows: Sequence[Row]) -> list[str]:
    """A name a row that no other of them has: the variant, student and teacher where needed.

    The commonest student is named only for what was run with others too.
    """
    commonest = commonest_student(rows)
    students = defaultdict(set)
    for row in rows:
        students[row.label].add(row.student)
    alike = Counter((row.label, row.student) for row in rows)
    names = []
    for row in rows:
        is_told = len(students[row.label]) == 1 and row.student == commonest
        name = row.label if is_told else f"{row.label} of {row.student}"
        if alike[row.label, row.student] > 1 and row.teachers:
            name += f" <- {' + '.join(row.teachers)}"
        names.append(name)
    return names


def commonest_student(rows: Sequence[Row]) -> str | None:
    """The student of most rows, whatever their order; None without rows."""
    counts = Counter(row.student for row in rows)
    return min(counts, key=lambda student: (-counts[student], student), default=None)


def by_label(pairs: Sequence[tuple[Row, list[Record]]]) -> dict[str, list[Record]]:
    """The runs of each row by its name of `row_names`."""
    named: dict[str, list[Record]] = {}
    for name, (_, runs) in zip(row_names([row for row, _ in pairs]), pairs, strict=True):
        named.setdefault(name, []).extend(runs)
    return named


def rows_by_seed(
    rows: Sequence[Row], runs: Mapping[str, Sequence[Record]]
) -> list[tuple[Row, Record]]:
    """Each run as a row of its own, in the order of the table's `rows`; `runs` as of `by_label`.

    Its gain is over source_only of its seed; None where that is not there.
    """
    groups = rows_of(record for records in runs.values() for record in records)
    single = []
    for name, row in dict(zip(row_names(rows), rows, strict=True)).items():
        for record in runs[name]:
            seed, length = record.spec.seed, record.spec.profile.length
            floor = by_seed(_baselines(record, groups).get(length, [])).get(seed)
            own = by_seed([record])
            gain = difference(own, {seed: floor}) if own and floor is not None else None
            single.append((replace(_row([record], row.variant), gain=gain), record))
    return single


def at_every_length(
    gains: Sequence[Difference | None], settings_of: Sequence[str]
) -> list[Difference | None]:
    """A gain is beyond chance where it is so, in one direction, at every length that was tested."""
    lengths: dict[str, list[Difference]] = defaultdict(list)
    for gain, row_settings in zip(gains, settings_of, strict=True):
        if gain and gain.tested:
            lengths[row_settings].append(gain)
    lasting = {
        row_settings: all(g.significant for g in each) and len({g.mean > 0 for g in each}) == 1
        for row_settings, each in lengths.items()
        if len(each) > 1
    }
    return [
        replace(gain, lasts=lasting.get(row_settings, True)) if gain else None
        for gain, row_settings in zip(gains, settings_of, strict=True)
    ]


def _gain(
    runs: Sequence[Record], floor: dict[int, float], shared: Deviations | None
) -> Difference | None:
    """None where either side's mIoU is no number."""
    own, of_floor = noise_of(runs[0].spec.method, shared), noise_of(BASELINE, shared)
    gain = difference(by_seed(runs), floor, own, of_floor)
    return gain if math.isfinite(gain.mean) else None


def _at_equal_seconds(runs: Sequence[Record], baseline: dict[int, list[Record]]) -> AtSteps | None:
    """Source-only at the training seconds of these runs; None where too little is known."""
    points = curve(baseline.values())
    steps = steps_of_as_long(seconds_by_machine(runs), chain(*baseline.values()))
    return at_steps(points, steps) if points and steps is not None else None


def _baselines(record: Record, groups: Iterable[list[Record]]) -> dict[int, list[Record]]:
    """The source-only runs that a record's gain is over, by the length of their schedule.

    The same student, the same settings. None of a length where several differ in settings that the
    record does not have.
    """
    if record.spec.method == BASELINE:
        return {}
    record_settings = settings(record)
    matching = [
        runs
        for runs in groups
        if runs[0].spec.method == BASELINE
        and runs[0].spec.student == record.spec.student
        and all(
            record_settings.get(name, value) == value for name, value in settings(runs[0]).items()
        )
    ]
    lengths = [runs[0].spec.profile.length for runs in matching]
    return {
        length: runs
        for length, runs in zip(lengths, matching, strict=True)
        if lengths.count(length) == 1
    }


def _row(runs: Sequence[Record], variant: dict[str, Any]) -> Row:
    """Its gains left out."""
    metrics = [r.metrics for r in runs if r.metrics]
    costs = [r.cost for r in runs if r.cost]
    students = [m.student for m in metrics]
    ema = [m.ema_teacher.miou for m in metrics if m.ema_teacher]
    taught = [t.miou for c in costs for t in c.teachers if t.miou is not None]
    memory_kinds = {c.training.memory_kind for c in costs}
    memory_kind = (
        memory_kinds.pop() if len(memory_kinds) == 1 else None
    )  # a GPU's and a CPU's memory have no maximum
    return Row(
        method=runs[0].spec.method,
        length=runs[0].spec.profile.length,
        variant=variant,
        student=runs[0].spec.student,
        teachers=teachers(runs[0]),
        seeds=tuple(r.spec.seed for r in runs),
        scores=tuple(s.miou for s in students),
        miou=summary(s.miou for s in students),
        gain=None,
        gain_at_seconds=None,
        gain_beyond=None,
        train_seconds=training_seconds(runs),
        seconds_on=seconds_by_machine(runs),
        ema_miou=summary(ema) if ema else None,
        **_second(metrics),
        conventions={
            name: fmean(s.conventions[name] for s in students)
            for name in students[0].conventions
            if all(name in s.conventions for s in students)
        },
        figures={
            name: summary(s.figures[name] for s in students)
            for name in students[0].figures
            if all(name in s.figures for s in students)
        },
        label_free=_label_free(metrics),
        iou={name: _mean([s.iou.get(name) for s in students]) for name in students[0].iou},
        train_images_per_second=_median([training_speed(r) for r in runs if r.cost]),
        memory_mib=max(c.training.memory_mib for c in costs) if memory_kind else None,
        memory_kind=memory_kind,
        inference_images_per_second=_median(
            [c.inference.images_per_second for c in costs if c.inference]
        ),
        parameters_m=costs[0].parameters_m if costs else None,
        training_parameters_m=_mean([c.training_parameters_m for c in costs]),
        teacher_miou=summary(taught) if taught else None,
        teacher_seconds=_mean([teacher_seconds(r) for r in runs]),
    )


def _second(metrics: Sequence[Metrics]) -> dict[str, Any]:
    """Figures of the second split, where every run has one and it is the same."""
    seconds = [m.second for m in metrics if m.second]
    splits = {second.split for second in seconds}
    if len(splits) != 1 or len(seconds) < len(metrics):
        return {"second_split": None, "second_miou": None, "second_ema_miou": None}
    ema = [second.ema_teacher.miou for second in seconds if second.ema_teacher]
    return {
        "second_split": splits.pop(),
        "second_miou": summary(second.student.miou for second in seconds),
        "second_ema_miou": summary(ema) if ema else None,
    }


def _label_free(metrics: Sequence[Metrics]) -> dict[str, Summary]:
    """Each label-free figure that every run has."""
    runs = [m.label_free for m in metrics if m.label_free]
    if not runs or len(runs) < len(metrics):
        return {}
    by_name = {
        name: [getattr(run.student, name) for run in runs] for name in ("entropy", "infomax", "snd")
    }
    by_name["agreement"] = [run.agreement for run in runs if run.agreement is not None]
    return {name: summary(values) for name, values in by_name.items() if len(values) == len(runs)}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
