"""What tells the rows of one method apart: the settings of its runs. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from harness.config.schema import RunSpec
from harness.records.schema import Record

#: The setting that is the code of the run's plug-ins; no knob has such a name.
PLUG_IN = "plug-in"
#: What a note says of a knob that a record leaves out: it was added later, and not set.
UNSAID = "its default"


def settings(record: Record) -> dict[str, Any]:
    """What must be equal within a row, the method, student and seed aside."""
    spec = record.spec
    values = {**spec.method_config, "init": spec.init}
    if spec.teachers:
        # The network has a column of its own, its weights are known by their hash.
        for name in ("teacher", "teacher_checkpoint"):
            values.pop(name, None)
        values["checkpoint"] = [teacher.get("checkpoint_sha256") for teacher in spec.teachers]
        values["teacher_iterations"] = spec.profile.teacher_iterations // spec.profile.length
        values["teacher_init"] = [teacher.get("init") for teacher in frozen_teachers(spec)]
    if spec.companions:
        values.pop("teacher", None)  # tables have a column for it
        values["companions"] = [companion.get("init") for companion in spec.companions]
    if spec.plugins:
        values[PLUG_IN] = list(spec.plugins.values())
    return values


#: Start weights, by the setting: of which networks they are.
_STARTS: dict[str, Callable[[RunSpec], list[dict[str, Any]]]] = {
    "init": lambda spec: [{"network": spec.student, "init": spec.init}],
    "teacher_init": lambda spec: frozen_teachers(spec),
    "companions": lambda spec: list(spec.companions),
}


def usual_starts(records: Iterable[Record]) -> dict[str, str | None]:
    """Start weights by network: what more than half of the rows that hold it start it from.

    A network whose rows are equally divided is left out. None: random weights.
    """
    starts: dict[str, dict[str, str | None]] = defaultdict(dict)
    for record in records:
        row = _dumped([record.spec.method, record.spec.student, settings(record)])
        for network in networks(record):
            if is_trained(network):
                starts[network["network"]][row] = network.get("init")
    return {
        network: start
        for network, by_row in starts.items()
        for start, count in Counter(by_row.values()).most_common(1)
        if count > len(by_row) / 2
    }


def variant(
    record: Record, same_method: Sequence[Record], starts: Mapping[str, str | None]
) -> dict[str, Any]:
    """The settings that tell a record from the method's others; usual ones are left out.

    starts: the table's `usual_starts`, which its heading names.
    """
    own_config, common = record.spec.method_config, usual(same_method)
    others = [settings(other) for other in same_method]
    return {
        name: shown(name, value)
        for name, value in settings(record).items()
        # A row without a teacher lacks its settings: the teacher's column tells the two apart.
        if not (name in _STARTS and _starts_as_usual(record, name, starts))
        and any(other.get(name) != value for other in others if name in other or name in own_config)
        and not (name in common and _dumped(common[name]) == _dumped(value))
    }


def _starts_as_usual(record: Record, setting: str, starts: Mapping[str, str | None]) -> bool:
    return all(
        network["network"] in starts and starts[network["network"]] == network.get("init")
        for network in _STARTS[setting](record.spec)
        if is_trained(network)
    )


def is_trained(network: Mapping[str, Any]) -> bool:
    """A network that is read from a checkpoint starts from nothing."""
    return "checkpoint_sha256" not in network


def usual(records: Iterable[Record]) -> dict[str, Any]:
    """What more than half of a method's variants have in common, where not all of them do.

    Start weights aside: see `usual_starts`.
    """
    variants = {_dumped(values): values for values in map(settings, records)}
    in_common = {}
    for name in sorted(set().union(*variants.values()) - _STARTS.keys()):
        values = {
            _dumped(variant_settings.get(name, UNSAID)): variant_settings.get(name, UNSAID)
            for variant_settings in variants.values()
        }
        counts = Counter(
            _dumped(variant_settings.get(name, UNSAID)) for variant_settings in variants.values()
        )
        (common, count), *others = counts.most_common()
        if others and count > len(variants) / 2:
            in_common[name] = values[common]
    return in_common


def networks(record: Record) -> list[dict[str, Any]]:
    """The run's student, frozen teachers and companions: network, init, init_file."""
    spec = record.spec
    student = {"network": spec.student, "init": spec.init, "init_file": spec.init_file}
    return [student, *frozen_teachers(spec), *spec.companions]


def frozen_teachers(spec: RunSpec) -> list[dict[str, Any]]:
    """A spec's frozen teachers; where no start is said, the student's network starts as it does."""
    student = {"init": spec.init, "init_file": spec.init_file}
    return [
        student | teacher if teacher["network"] == spec.student and is_trained(teacher) else teacher
        for teacher in spec.teachers
    ]


def start_names(records: Iterable[Record]) -> dict[str, str]:
    """Start weights by their hash: the name of the file, where a record knows it."""
    described = [network for record in records for network in networks(record)]
    return {n["init"]: n["init_file"] for n in described if n.get("init") and n.get("init_file")}


def shown(setting: str, value: Any) -> Any:
    """The setting's value as a row shows it: of start weights eight digits of the hash.

    Files' names would take the width of the table; its note says which digits are which file's.
    """
    if setting == PLUG_IN:  # of each a file's hash, or a package's after its name and version
        return " + ".join(origin[:-56] if len(origin) > 56 else origin for origin in value)
    if setting not in _STARTS:
        return value
    if isinstance(value, list):
        digits = [shown(setting, item) for item in value]
        return digits if len(digits) > 1 else "".join(digits)
    return value[:8] if value else "random"


def spelled(values: Mapping[str, Any]) -> str:
    """Settings as `--set` takes them, quotes left out."""
    return ", ".join(f"{name}={_spelled(value)}" for name, value in values.items())


def _spelled(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spelled, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
