"""How a run is made again: the command, and whether it is that run with the uda-bench at hand."""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from typing import Any, NamedTuple

from harness.config import catalogue
from harness.config.planning import Request, resolve_on
from harness.config.schema import RunSpec
from harness.data.sources import as_recorded, opened
from harness.errors import BenchError, in_one_line
from harness.records.schema import Record, provenance


class Reproduction(NamedTuple):
    """The command, and what a reader has to know of it."""

    command: str
    note: str


def reproduction(record: Record) -> Reproduction:
    """The command that makes the record's run, checked against its run_id.

    Settings that differ from what profile and scenario give today are set. Real data need not be
    here: its fingerprint is the record's. What cannot be known from a record (paths of data,
    weights and plug-ins) stands in capitals.
    """
    spec = record.spec
    request = _request(spec)
    is_real = not (spec.source.generated and spec.target.generated)
    find = partial(as_recorded, spec=spec) if is_real else partial(opened, data_root=None)
    note = ""
    try:
        made = resolve_on(request, find).spec
        request = request.model_copy(update=_settings(spec, made))
        made = resolve_on(request, find).spec
        if made.run_id == record.run_id:
            data = " and the same data" if is_real else ""
            note = f"With this uda-bench{data}, this command is exactly this run."
        else:
            parts = ", ".join(_differing(spec, made))
            note = f"With this uda-bench, it is another run: {parts} differ. {_where(record)}"
    except (BenchError, ValueError) as error:
        note = f"Not checked: {in_one_line(error)}. {_where(record)}".replace("..", ".")
    return Reproduction(_command(request, spec), note)


def _request(spec: RunSpec) -> Request:
    values: dict[str, Any] = {
        "method": spec.method,
        "scenario": _as_given("scenarios", spec.scenario.name),
        "profile": _as_given("profiles", spec.profile.name),
    }
    others = [*spec.teachers, *spec.companions]
    if others and "teacher" in spec.method_config:
        values["teacher"] = str(others[0].get("network"))
    return Request(**values, student=_student(spec, values["profile"]), seed=spec.seed)


def _as_given(kind: str, name: str) -> str:
    """A scenario or a profile as the command line has it: one that is not shipped is a file."""
    return name if name in catalogue.names(kind) else f"{name}.toml"


def _student(spec: RunSpec, profile: str) -> str | None:
    try:
        usual = catalogue.profile(profile).student
    except BenchError:
        usual = ""
    return None if spec.student == usual else spec.student


def _settings(spec: RunSpec, made: RunSpec) -> dict[str, Any]:
    """What a request has to say where the run differs from what is made without it."""
    settings: dict[str, Any] = {"overrides": _overrides(spec, made)}
    if spec.init != made.init:
        settings["init"] = spec.init_file if spec.init else "none"
    own, usual = (_starts_beside(s) for s in (spec, made))
    if own != usual and not any(own):
        settings["teacher_init"] = "none"
    return settings


def _starts_beside(spec: RunSpec) -> list[Any]:
    """The weights that networks beside the student start from, by hash; None: random.

    "": nothing is said of it, so that one of the student's network starts as the student.
    """
    return [network.get("init", "") for network in (*spec.teachers, *spec.companions)]


def _overrides(spec: RunSpec, made: RunSpec) -> tuple[str, ...]:
    """Knobs and fields of profile and scenario in which the run differs from one without any."""
    knobs = {n: v for n, v in spec.method_config.items() if made.method_config.get(n) != v}
    own, usual = (s.profile.model_dump(mode="json") for s in (spec, made))
    fields = {n: v for n, v in own.items() if n not in _FIXED and usual[n] != v}
    if "length" in fields:  # the schedule's, which it multiplies
        fields = {n: v for n, v in fields.items() if n not in ("iterations", "teacher_iterations")}
    values = {n: v for n, v in knobs.items() if n != "teacher"} | {
        f"profile.{name}": value for name, value in fields.items()
    }
    own, usual = (s.scenario.model_dump(mode="json") for s in (spec, made))
    if not spec.scenario.second_split:  # as of records before there was one; it names no run
        usual["second_split"] = ""
    values |= {f"scenario.{n}": v for n, v in own.items() if n not in _DOMAINS and usual[n] != v}
    return tuple(f"{name}={_spelled(value)}" for name, value in sorted(values.items()))


#: Of a scenario, what its name or file says.
_DOMAINS = {"name", "title", "source", "target", "classes", "datasets"}
#: Of a profile, what is not set: names, and what a spec holds resolved.
_FIXED = {
    *("name", "description", "edition", "student", "knobs", "target_knobs", "init", "teacher_init"),
    *("wants_init", "log_every", "checkpoint_every", "workers", "data_store"),
}


def _spelled(value: Any) -> str:
    if isinstance(value, str) and value.startswith("sha256:"):  # of a file that a knob names
        return "FILE"
    return value if isinstance(value, str) else json.dumps(value)


def _differing(spec: RunSpec, made: RunSpec) -> list[str]:
    own, other = spec.model_dump(mode="json"), made.model_dump(mode="json")
    names = [name for name in own if own[name] != other[name] and name != "profile"]
    profile = spec.profile.edition != made.profile.edition
    return [name.replace("_", " ") for name in names] + ["the profile's edition"] * profile


def _where(record: Record) -> str:
    commit = provenance(record, "code").get("commit")
    return f"The record was made at commit {commit}." if commit else ""


#: Of a network that was a config file of the user's: a command line has the file's path.
_CONFIG_HASH = re.compile(r"(?<=\.py)@[0-9a-f]{10}$")


def _command(request: Request, spec: RunSpec) -> str:
    words = ["bench", "run"]
    for name in ("method", "scenario", "profile", "student", "teacher", "init", "teacher_init"):
        if value := getattr(request, name):
            words += [f"--{name.replace('_', '-')}", _CONFIG_HASH.sub("", value)]
    words += ["--seed", str(request.seed)]
    for override in request.overrides:
        words += ["--set", override]
    if not (spec.source.generated and spec.target.generated):
        words += ["--data-root", "DATA"]
    for plugin in spec.plugins:
        words += ["--plugin", f"{plugin}.py"]
    return shlex.join(words)
