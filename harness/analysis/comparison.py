"""Records -> comparison tables as data: what may stand side by side, and what it says.

Pure, but that what is shipped of profiles and scenarios is read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.analysis.notes import shared_lines, table_notes
from harness.analysis.provenance import device_kind, mixture
from harness.analysis.rows import Row, by_label, table_rows
from harness.analysis.statistics import Deviations
from harness.config import catalogue
from harness.config.schema import CHANGE_NO_FIGURE, Profile, RunSpec, Scenario
from harness.records.schema import Record

NOT_COMPARABLE = "figures are not comparable with papers"

#: Profile fields that do not part tables: they change no figure, or the row itself names them.
NOT_COMPARED = {
    *CHANGE_NO_FIGURE,
    *("name", "student", "knobs", "target_knobs", "teacher_iterations", "length", "iterations"),
}
#: Profile fields that a run has resolved: into weights, which tables name, and into image sizes.
NAMED_ELSEWHERE = ("init", "teacher_init", "longest_side")


@dataclass(frozen=True)
class Table:
    """Rows that may be compared with one another."""

    scenario: Scenario
    profile: str
    edition: int  # of the profile
    generated: str  # "generated data", "generated source", or nothing
    differs: dict[str, str]  # what sets it apart from its neighbours of that scenario and profile
    rows: list[Row]
    failed: list[str]
    shared: list[str] = field(default_factory=list)  # what all rows have in common, said above them
    notes: list[str] = field(default_factory=list)
    noise: Deviations | None = None  # of a single run, over all rows
    runs: dict[str, list[Record]] = field(default_factory=dict)  # each row's, by a name of its own

    @property
    def profile_name(self) -> str:
        """With its edition, from the second on."""
        return self.profile if self.edition == 1 else f"{self.profile} v{self.edition}"

    @property
    def heading(self) -> str:
        """Scenario, profile, what sets the table apart, and whether its data is generated."""
        apart = [f"{name} {value}" for name, value in self.differs.items()]
        parts = [self.scenario.title, f"profile {self.profile_name}", *apart]
        warning = f" ({self.generated}: {NOT_COMPARABLE})" if self.generated else ""
        return ", ".join(parts) + warning


def comparison(records: Iterable[Record]) -> list[Table]:
    """Group records by what may be compared, one table a group, whatever their order.

    Two records share a table when scenario, metric convention, resolved profile, data, protocol and
    kind of device are the same, the length of the schedule aside, which rows name; elsewhere each
    table's heading says what differs.
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


def conditions(record: Record) -> dict[str, Any]:
    """Everything that has to be equal within a table, by its name."""
    return {**_comparable(record), "device": device_kind(record)}


def same_conditions(records: Iterable[Record]) -> list[list[Record]]:
    """The records in groups that may share a table, in the order of the first of each."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[_key(record, device_kind(record))].append(record)
    return list(groups.values())


def places(tables: Iterable[Table]) -> list[list[Table]]:
    """Tables with rows, in groups of several scenarios that are alike in all that is not theirs.

    Of one profile, data generated or not, and every setting of it but image sizes. What sets a
    table apart from its neighbours of that scenario, such as its scored split, they share too.
    """
    groups: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        if not table.rows:
            continue
        record = next(iter(table.runs.values()))[0]
        common = {
            name: value
            for name, value in conditions(record).items()
            if name in ("device", "protocol", "selection", "iterations")
            or (name in Profile.model_fields and name != "image_size")
        }
        own = {name: value for name, value in table.differs.items() if name not in common}
        parts = [table.profile_name, table.generated, common, own]
        groups[json.dumps(parts, sort_keys=True)].append(table)
    return list(groups.values())


def apart(tables: Iterable[Table]) -> list[str]:
    """What sets a group of `places` apart from others, in words."""
    differs = {name: value for table in tables for name, value in table.differs.items()}
    return [f"{name} {value}" for name, value in differs.items()]


def spelled_differences(records: Sequence[Record]) -> dict[str, list[str]]:
    """The conditions that differ among records: name -> the values, in the records' order."""
    each = [conditions(record) for record in records]
    return {
        name: list(dict.fromkeys(_short(one[name]) for one in each))
        for name in each[0]
        if any(one[name] != each[0][name] for one in each)
    }


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
        **_settings(spec.profile, spec.scenario),
    }


def _settings(profile: Profile, scenario: Scenario) -> dict[str, Any]:
    """Of the conditions, those that a profile and a scenario have set."""
    classes = scenario.classes
    return {
        "classes": classes if isinstance(classes, str) else list(classes.names),
        "source split": scenario.source_split,
        "target split": scenario.target_split,
        "scored split": scenario.eval_split,
        "source classes": scenario.source_classes,
        "target classes": scenario.target_classes,
        "scored classes": scenario.scored_classes,
        "iterations": profile.iterations // profile.length,
        **profile.model_dump(mode="json", exclude=NOT_COMPARED),
    }


def _set_otherwise(spec: RunSpec, said: Collection[str]) -> list[str]:
    """A note of what runs set otherwise than profile and scenario of that name, `said` aside.

    Nothing where none of that name is shipped, or none of that edition: of an older one or of a
    file. A record may hold any name: no file is looked for by it.
    """
    names = {"profiles": spec.profile.name, "scenarios": spec.scenario.name}
    if any(name not in catalogue.names(kind) for kind, name in names.items()):
        return []
    profile = catalogue.profile(spec.profile.name)
    scenario = catalogue.scenario(spec.scenario.name)
    if profile.edition != spec.profile.edition:
        return []
    usual = _settings(profile, scenario)
    otherwise = [
        f"{key} {_short(value)} instead of {_short(expected)}"
        for name, values in _settings(spec.profile, spec.scenario).items()
        if name not in {*said, *NAMED_ELSEWHERE}
        for key, value, expected in _pairs(name, values, usual[name])
        if value != expected
    ]
    where = f"Set otherwise than by profile {profile.name} and scenario {scenario.name}"
    return [f"{where}: {'; '.join(otherwise)}."] if otherwise else []


def _pairs(name: str, value: Any, usual: Any) -> list[tuple[str, Any, Any]]:
    """A setting beside the usual one, under its key of --set: a table's by the keys it has."""
    if not isinstance(value, dict) or not isinstance(usual, dict):
        return [(name, value, usual)]
    return [(f"{name}.{key}", one, usual.get(key)) for key, one in value.items()]


def _scenario_and_profile(conditions: dict[str, Any]) -> tuple[str, str, int]:
    return conditions["scenario"], conditions["profile"], conditions["edition"]


def _differences(
    conditions: dict[str, Any], neighbours: Sequence[dict[str, Any]]
) -> dict[str, str]:
    differing = {
        name: value
        for name, value in conditions.items()
        if any(other[name] != value for other in neighbours)
        or (name == "selection" and value != "last")
    }
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
    done, repeated = newest(r for r in records if r.state == "done" and r.metrics)
    pairs, shared = table_rows(done)
    rows = [row for row, _ in pairs]
    failed = sorted(_failure(r) for r in records if r.state == "failed" or not r.metrics)
    spec = records[0].spec
    return Table(
        scenario=spec.scenario,
        profile=spec.profile.name,
        edition=spec.profile.edition,
        generated=_generated(spec),
        differs=differs,
        rows=rows,
        failed=failed,
        shared=shared_lines(done, rows),
        notes=[
            *_set_otherwise(spec, differs),
            *table_notes(done, rows, shared, repeated),
            *mixture(by_label(pairs)),
        ],
        noise=shared,
        runs=by_label(pairs),
    )


def newest(records: Iterable[Record]) -> tuple[list[Record], int]:
    """A run measured twice is one run, not two seeds: keep the newest, count the others."""
    by_run: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_run[record.run_id].append(record)
    kept = [
        max(same, key=lambda r: (r.created, r.model_dump_json())) if len(same) > 1 else same[0]
        for same in by_run.values()
    ]
    repeated = sum(map(len, by_run.values())) - len(kept)
    return sorted(kept, key=lambda r: (r.created, r.run_id)), repeated


def _failure(record: Record) -> str:
    spec, lines = record.spec, (record.error or "").strip().splitlines()
    reason = lines[0] if lines else "it holds no scores"
    return f"failed: {spec.method}, {spec.student}, seed {spec.seed}: {reason}"
