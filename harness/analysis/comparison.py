"""Records -> comparison tables as data: what may stand side by side, and what it says. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from harness.analysis.provenance import device_kind, mixture
from harness.analysis.statistics import Difference, Summary, paired_difference, summary
from harness.analysis.variants import settings, spelled, usual, variant
from harness.config.schema import CHANGE_NO_FIGURE, RunSpec, Scenario
from harness.records.schema import Record, hardware, training_speed

BASELINE, ORACLE = "source_only", "oracle"
ENOUGH_SEEDS = 3
NOT_COMPARABLE = "figures are not comparable with papers"

#: Profile fields that do not part tables: they change no figure, or the row itself names them.
NOT_COMPARED = {*CHANGE_NO_FIGURE, "name", "student", "knobs", "teacher_iterations"}


@dataclass(frozen=True)
class Row:
    """One method with one student, over its seeds. Percent, images per second, MiB, seconds."""

    method: str
    variant: dict[str, Any]  # the settings that tell it from the method's other rows
    student: str
    teachers: tuple[str, ...]
    seeds: tuple[int, ...]
    miou: Summary
    gain: Difference | None  # over source_only with the same student
    ema_miou: Summary | None
    conventions: dict[str, float]
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
    def label(self) -> str:
        return f"{self.method} ({spelled(self.variant)})" if self.variant else self.method


@dataclass(frozen=True)
class Table:
    """Rows that may be compared with one another."""

    scenario: Scenario
    profile: str
    generated: str  # "generated data", "generated source", or nothing
    differs: dict[str, str]  # what sets it apart from its neighbours of that scenario and profile
    rows: list[Row]
    failed: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """Scenario, profile, what sets the table apart, and whether its data is generated."""
        apart = [f"{name} {value}" for name, value in self.differs.items()]
        parts = [self.scenario.title, f"profile {self.profile}", *apart]
        warning = f" ({self.generated}: {NOT_COMPARABLE})" if self.generated else ""
        return ", ".join(parts) + warning


def comparison(records: Iterable[Record]) -> list[Table]:
    """Group records by what may be compared, one table a group, whatever their order.

    Two records share a table when scenario, metric convention, resolved profile, data, protocol and
    kind of device are the same; elsewhere each table's heading says what differs.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    nowhere = []  # failed before they came to a device
    for record in records:
        if device_kind(record):
            groups[_key(record, device_kind(record))].append(record)
        else:
            nowhere.append(record)
    for record in nowhere:
        keys = [_key(record, device) for device in ("CPU", "GPU")]
        groups[next((key for key in keys if key in groups), keys[0])].append(record)
    conditions = {key: json.loads(key) for key in groups}
    tables = []
    for key in sorted(groups, key=lambda key: (_scenario_and_profile(conditions[key]), key)):
        common = _scenario_and_profile(conditions[key])
        neighbours = [c for c in conditions.values() if _scenario_and_profile(c) == common]
        tables.append(_table(groups[key], _differences(conditions[key], neighbours)))
    return tables


def comparable(record: Record, others: Iterable[Record]) -> list[Record]:
    """Those of the others that may share a table with a record, itself among them."""
    key = _key(record, device_kind(record))
    return [other for other in others if _key(other, device_kind(other)) == key]


def _key(record: Record, device: str | None) -> str:
    return json.dumps({**_comparable(record), "device": device}, sort_keys=True)


def _comparable(record: Record) -> dict[str, Any]:
    """Flat: every condition that has to be equal within a table, the kind of device aside."""
    spec = record.spec
    convention = record.metrics.convention if record.metrics else spec.scenario.convention
    profile = spec.profile.model_dump(mode="json", exclude=NOT_COMPARED)
    return {
        "scenario": spec.scenario.name,
        "profile": spec.profile.name,
        "source": spec.source.dataset,
        "target": spec.target.dataset,
        "convention": convention,
        "protocol": spec.protocol,
        "selection": record.metrics.selection if record.metrics else "last",
        "source data": spec.source.model_dump(mode="json", exclude={"dataset"}),
        "target data": spec.target.model_dump(mode="json", exclude={"dataset"}),
        **profile,
    }


def _scenario_and_profile(conditions: dict[str, Any]) -> tuple[str, str]:
    return conditions["scenario"], conditions["profile"]


def _differences(
    conditions: dict[str, Any], neighbours: Sequence[dict[str, Any]]
) -> dict[str, str]:
    differing = {n: v for n, v in conditions.items() if any(other[n] != v for other in neighbours)}
    return {name: _short(value) for name, value in differing.items()}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return value.get("fingerprint") or json.dumps(value)
    return json.dumps(value) if isinstance(value, list) else str(value)


def _generated(spec: RunSpec) -> str:
    if spec.target.generated:
        return "generated data"
    return "generated source" if spec.source.generated else ""


def _table(records: Sequence[Record], differs: dict[str, str]) -> Table:
    done, repeated = _newest(r for r in records if r.state == "done" and r.metrics)
    pairs = _rows(done)
    rows = [row for row, _ in pairs]
    failed = sorted(_failure(r) for r in records if r.state == "failed" or not r.metrics)
    spec = records[0].spec
    return Table(
        scenario=spec.scenario,
        profile=spec.profile.name,
        generated=_generated(spec),
        differs=differs,
        rows=rows,
        failed=failed,
        notes=[*_notes(done, rows, repeated), *mixture(_by_label(pairs))],
    )


def _newest(records: Iterable[Record]) -> tuple[list[Record], int]:
    """A run measured twice is one run, not two seeds: keep the newest, count the others."""
    by_run: dict[str, Record] = {}
    ordered = sorted(records, key=lambda r: (r.created, r.model_dump_json()))
    for record in ordered:
        by_run[record.run_id] = record
    return list(by_run.values()), len(ordered) - len(by_run)


def _failure(record: Record) -> str:
    spec, reason = record.spec, (record.error or "it holds no scores").strip().splitlines()[0]
    return f"failed: {spec.method}, {spec.student}, seed {spec.seed}: {reason}"


def _teachers(record: Record) -> tuple[str, ...]:
    """Frozen ones, and networks trained jointly with the student."""
    networks = [*record.spec.teachers, *record.spec.companions]
    return tuple(str(network.get("network")) for network in networks)


def _rows(records: Sequence[Record]) -> list[tuple[Row, list[Record]]]:
    """Each row with the runs that it is of."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        parts = [record.spec.method, record.spec.student, _teachers(record), settings(record)]
        groups[json.dumps(parts, sort_keys=True)].append(record)
    rows = []
    for runs in groups.values():
        same_method = [r for r in records if r.spec.method == runs[0].spec.method]
        row = _row(runs, variant(runs[0], same_method), _baseline(runs[0], groups.values()))
        rows.append((row, runs))
    rank = {BASELINE: 0, ORACLE: 2}

    def order(pair: tuple[Row, list[Record]]) -> tuple[int, str, str, tuple[str, ...]]:
        row = pair[0]
        return rank.get(row.method, 1), row.label, row.student, row.teachers

    return sorted(rows, key=order)


def _by_label(pairs: Sequence[tuple[Row, list[Record]]]) -> dict[str, list[Record]]:
    """The runs of each row by a name that no other row has: student and teacher where needed."""
    several = len({row.student for row, _ in pairs}) > 1
    named: dict[str, list[Record]] = {}
    for row, runs in pairs:
        alike = sum((other.label, other.student) == (row.label, row.student) for other, _ in pairs)
        label = f"{row.label}, {row.student}" if several else row.label
        label += f" <- {' + '.join(row.teachers)}" if alike > 1 and row.teachers else ""
        named.setdefault(label, []).extend(runs)
    return named


def _baseline(record: Record, groups: Iterable[list[Record]]) -> list[Record] | None:
    """The source-only runs that a record's gain is over: the same student, the same settings.

    None when there are none, or several that differ in settings the record does not have.
    """
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
    return matching[0] if len(matching) == 1 and record.spec.method != BASELINE else None


def _row(runs: Sequence[Record], variant: dict[str, Any], baseline: list[Record] | None) -> Row:
    runs = sorted(runs, key=lambda r: r.spec.seed)
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
        variant=variant,
        student=runs[0].spec.student,
        teachers=_teachers(runs[0]),
        seeds=tuple(r.spec.seed for r in runs),
        miou=summary(s.miou for s in students),
        gain=paired_difference(_by_seed(runs), _by_seed(baseline)) if baseline else None,
        ema_miou=summary(ema) if ema else None,
        conventions={
            name: fmean(s.conventions[name] for s in students)
            for name in students[0].conventions
            if all(name in s.conventions for s in students)
        },
        iou={name: _mean([s.iou.get(name) for s in students]) for name in students[0].iou},
        train_images_per_second=_median([training_speed(r) for r in runs if r.cost]),
        memory_mib=max(c.training.memory_mib for c in costs) if memory_kind else None,
        memory_kind=memory_kind,
        inference_images_per_second=_median([c.inference.images_per_second for c in costs]),
        parameters_m=costs[0].parameters_m if costs else None,
        training_parameters_m=_mean([c.training_parameters_m for c in costs]),
        teacher_miou=summary(taught) if taught else None,
        teacher_seconds=_mean([_teacher_seconds(r) for r in runs]),
    )


def _by_seed(runs: Iterable[Record]) -> dict[int, float]:
    return {r.spec.seed: r.metrics.student.miou for r in runs if r.metrics}


def _teacher_seconds(record: Record) -> float | None:
    if not record.spec.teachers:
        return 0.0
    trained = [t.training for t in record.cost.teachers] if record.cost else []
    known = [training.wall_seconds for training in trained if training]
    return sum(known) if known and len(known) == len(trained) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _notes(records: Sequence[Record], rows: Sequence[Row], repeated: int) -> list[str]:
    """What a reader has to know before believing the figures."""
    notes = []
    students = {row.student for row in rows}
    if len(students) == 1:
        notes.append(f"Student {students.pop()}, at the last iteration.")
    for method in dict.fromkeys(row.method for row in rows):
        common = usual(record for record in records if record.spec.method == method)
        if common:
            notes.append(f"{method}, where its row does not say otherwise: {spelled(common)}.")
    few = [f"{row.label} ({row.miou.n})" for row in rows if row.miou.n < ENOUGH_SEEDS]
    if few:
        which = "every row" if len(few) == len(rows) > 3 else ", ".join(few)
        notes.append(
            f"Warning: n < {ENOUGH_SEEDS} for {which}: too few seeds to tell a gain "
            "from chance; run seeds 0, 1, 2."
        )
    if any(row.gain for row in rows):
        notes.append("gain: points over source_only with the same student, mean over seeds.")
    tested = [r.gain for r in rows if r.gain and r.gain.n >= ENOUGH_SEEDS]
    if tested:
        notes.append("~ not significant: p >= 0.05, two-sided t-test paired over seeds.")
    if any(not gain.paired for gain in tested):
        notes.append("Where a row's seeds are not source_only's: Welch's test, unpaired.")
    if repeated:
        notes.append(f"Older records of the same runs, left out: {repeated}.")
    return notes + _measurement_notes(records)


def _measurement_notes(records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    machines = sorted({hardware(record) for record in records})
    notes = [f"Speed and memory measured on {', '.join(machines)}."]
    how = sorted(
        {
            f"{i.resolution[0]}x{i.resolution[1]} (height x width), {i.precision}, batch {i.batch}"
            for i in (record.cost.inference for record in records if record.cost)
        }
    )
    return notes + ([f"Inference at {'; '.join(how)}."] if how else [])
