"""From what the user typed to a RunSpec: names, profile knobs and overrides, all checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from harness import catalogue
from harness.catalogue import explain, unknown
from harness.data.sources import Sources, find_sources, is_real
from harness.errors import BenchError
from harness.overrides import apply_overrides
from harness.spec import Profile, RunSpec, Scenario

if TYPE_CHECKING:
    from methods.contract import Method


class Request(BaseModel):
    """What a user asks for; everything but method and scenario has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    scenario: str
    profile: str | None = None
    student: str | None = None
    teacher: str | None = None
    teacher_checkpoint: str | None = None
    init: str | None = None
    seed: int = 0
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher: a file, or the plan of the run that trains it."""

    network: str
    checkpoint: Path | None = None
    plan: Plan | None = None


@dataclass(frozen=True)
class Plan:
    """A run, its method's configuration, where its data and weights lie, its frozen teachers."""

    spec: RunSpec
    config: Any  # the method's own Config
    sources: Sources
    teachers: tuple[Teacher, ...] = ()
    init: Path | None = None  # weights that the student's encoder starts from


def resolve(request: Request, data_root: Path | None = None) -> Plan:
    """Resolve a request. BenchError for unknown names, knobs or values, and for missing data."""
    config_class = find_method(request.method).Config
    scenario = catalogue.scenario(request.scenario)
    default = "paper" if is_real(scenario, data_root) else "tiny"
    profile = catalogue.profile(request.profile or default)
    if request.student:
        profile = profile.model_copy(update={"student": request.student})
    knobs = {k: v for k, v in profile.knobs.items() if k in config_class.model_fields}
    for option in ("teacher", "teacher_checkpoint"):
        value = getattr(request, option)
        if value is not None and option not in config_class.model_fields:
            raise BenchError(
                f"--{option.replace('_', '-')} {value}: method {request.method!r} has no frozen "
                "teacher; expected one that has, such as dualkd."
            )
        if value is not None:
            knobs[option] = value
    profile, scenario, knobs = apply_overrides(
        request.overrides, profile, scenario, config_class, knobs
    )
    sources = find_sources(scenario, profile, data_root)
    init = Path(request.init) if request.init else None
    return plan(request.method, knobs, scenario, profile, request.seed, sources, init)


def find_method(name: str) -> type[Method]:
    """The method's class. BenchError for an unknown name."""
    from methods import registry

    if name not in registry.names():
        raise unknown("method", name, registry.names())
    return registry.load(name)


def replan(
    spec: RunSpec,
    data_root: Path | None,
    config: dict[str, Any] | None = None,
    init: Path | None = None,
) -> Plan:
    """The plan of a run that was resolved before; paths of weight files are not in its spec."""
    if spec.source.generated and spec.target.generated:
        data_root = None  # it may come from the environment: a generated run stays one
    sources = find_sources(spec.scenario, spec.profile, data_root)
    knobs = config or spec.method_config
    return plan(spec.method, knobs, spec.scenario, spec.profile, spec.seed, sources, init)


def plan(
    method_name: str,
    knobs: dict[str, Any],
    scenario: Scenario,
    profile: Profile,
    seed: int,
    sources: Sources,
    init: Path | None = None,
) -> Plan:
    """Plan one run, and before it a source-only run for each frozen teacher without a file."""
    method = find_method(method_name)
    try:
        config = method.Config(**knobs)
    except ValidationError as error:
        raise BenchError(f"method {method_name}: {explain(error)}") from error
    _check_network(profile.student)
    try:
        wanted = method.frozen_teachers(config, profile.student)
    except ValueError as error:
        raise BenchError(f"{error}: --teacher NETWORK.") from error
    teachers = []
    references: list[dict[str, Any]] = []
    for network, checkpoint in wanted:
        _check_network(network)
        if checkpoint:
            teachers.append(Teacher(network, checkpoint=Path(checkpoint)))
            references.append({"network": network, "checkpoint_sha256": file_hash(checkpoint)})
        else:
            own = profile.model_copy(
                update={"student": network, "iterations": profile.teacher_iterations}
            )
            source_knobs = {"loss_stride": config.loss_stride}
            same = init if network == profile.student else None
            teacher = plan("source_only", source_knobs, scenario, own, seed, sources, same)
            teachers.append(Teacher(network, plan=teacher))
            references.append({"network": network, "weights_id": teacher.spec.weights_id})
    method_config = config.model_dump(mode="json", exclude={"teacher_checkpoint"})
    if "teacher" in method_config and references:
        # Left to its default or named, it is the same run.
        method_config["teacher"] = references[0]["network"]
    spec = RunSpec(
        method=method_name,
        method_config=method_config,
        scenario=scenario,
        profile=profile.model_copy(update={"knobs": {}}),
        student=profile.student,
        teachers=references,
        init=file_hash(init) if init else None,
        seed=seed,
        source=sources.source.ref,
        target=sources.target.ref,
        uses_target=method.uses_target,
    )
    return Plan(spec, config, sources, tuple(teachers), init)


@cache
def _check_network(name: str) -> None:
    import torch

    from methods.networks import zoo

    try:
        zoo.describe(name)
        if ":" in name:  # another library's: only building it tells whether it is there
            with torch.device("meta" if name.startswith("timm:") else "cpu"):
                zoo.build(name)
    except ValueError as error:
        raise BenchError(str(error)) from error


def file_hash(path: str | Path) -> str:
    """Sha256 of a file's content, 16 hex digits. BenchError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; expected a readable checkpoint.") from error
    return digest.hexdigest()[:16]
