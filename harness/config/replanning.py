"""From a record's spec back to a plan: what this machine must have, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.config.knobs import files
from harness.config.network_files import recorded, register
from harness.config.planning import Plan, find_method, plan
from harness.config.schema import RunSpec
from harness.config.start_weights import IMAGENET, RANDOM, Start
from harness.data.sources import find_sources
from harness.errors import BenchError
from methods import registry


def replan(
    spec: RunSpec,
    data_root: Path | None,
    config: dict[str, Any] | None = None,
    init: Start | None = None,
    teacher_init: Start | None = None,
) -> Plan:
    """The plan of a run that was resolved before; paths of weight files are not in its spec.

    Where none are given for encoders that start from weights, ImageNet's of this machine are used.
    """
    for part in spec.plugins.keys() - registry.names():
        raise BenchError(
            f"run {spec.run_id}: its method {part} was a plug-in ({spec.plugins[part]}), which is "
            f"not here; give its file, --plugin {part}.py, or install its package."
        )
    register(spec.networks)
    if config is None:
        _refuse_files(spec)
    if spec.source.generated and spec.target.generated:
        data_root = None  # it may come from the environment: a generated run stays one
    data = find_sources(spec.scenario, spec.profile, data_root)
    knobs = spec.method_config if config is None else config
    if not init and not teacher_init:
        init = IMAGENET if spec.init else None
        said = [o["init"] for o in (*spec.teachers, *spec.companions) if "init" in o]
        teacher_init = (IMAGENET if any(said) else RANDOM) if said else None
    made = plan(
        spec.method, knobs, spec.scenario, spec.profile, spec.seed, data, init, teacher_init
    )
    if made.spec.init != spec.init:
        raise BenchError(
            f"run {spec.run_id}: weights of sha256 {str(made.spec.init)[:8]} found on this machine "
            f"for {spec.student}, {str(spec.init)[:8]} expected ({spec.init_file})."
        )
    return made


def _refuse_files(spec: RunSpec) -> None:
    """BenchError where a record names a file here that a run would read, or run as a program."""
    for name in (spec.student, spec.profile.student, *_texts(spec.method_config)):
        recorded(name)
    if checkpoint := spec.method_config.get("teacher_checkpoint"):
        raise BenchError(
            f"run {spec.run_id}: its record names a file, teacher_checkpoint = {checkpoint!r}; "
            "expected none, a record holds hashes of files alone. Take the record as it was."
        )
    try:
        config = find_method(spec.method).Config(**spec.method_config)
    except ValidationError:  # its planning says so
        return
    for knob in files(config):
        raise BenchError(
            f"run {spec.run_id}: its knob {knob} is a file, of which its record holds the hash "
            f"alone, {spec.method_config[knob]}; expected a run without: bench run --set "
            f"{knob}=FILE makes this one again."
        )


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
