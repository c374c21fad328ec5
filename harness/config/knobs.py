"""A method's knobs: what its Config makes of them, and what of them names a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.config.schema import Profile, Scenario
from harness.errors import BenchError, explain
from harness.files import known_hash


def check_names(method: str, config: type[BaseModel]) -> None:
    """BenchError for a knob that is called like a field of every run: --set could mean either."""
    for model in (Profile, Scenario):
        for name in config.model_fields:
            if name in model.model_fields:
                raise BenchError(
                    f"method {method}: its Config declares {name}, which every "
                    f"{model.__name__.lower()} has; --set {name}=... would set one of the two: "
                    f"call it otherwise, such as {method.partition('+')[0]}_{name}."
                )


def config_of(method: str, config: type[BaseModel], knobs: dict[str, Any]) -> Any:
    """The method's Config of these knobs. BenchError for one that is missing or does not fit."""
    try:
        return config(**knobs)
    except ValidationError as error:
        missing = (e["loc"] for e in error.errors() if e["type"] == "missing")
        remedy = "".join(f" --set {name}=VALUE" for name, *inner in missing if not inner)
        raise BenchError(
            f"method {method}: {explain(error)}" + (f"; give{remedy}." if remedy else "")
        ) from error


def naming(method: str, config: BaseModel) -> dict[str, Any]:
    """The knobs as a spec holds them, JSON values: files by their content, as `sha256:` and so on.

    Left out are a teacher's weights, which the spec names elsewhere, and knobs marked as added
    later that stand at their default. BenchError for a file that is not there.
    """
    said = {"teacher_checkpoint", *_unsaid(config)}
    values, dumped = (config.model_dump(mode=mode, exclude=said) for mode in ("python", "json"))
    try:
        return {name: _content(values[name], value, name) for name, value in dumped.items()}
    except ValueError as error:
        raise BenchError(f"method {method}: {error}.") from error


def files(config: BaseModel) -> list[str]:
    """The knobs that name files."""
    return [name for name, value in config.model_dump().items() if _holds_path(value)]


def _content(value: Any, dumped: Any, name: str) -> Any:
    """A knob's JSON, with a hash in place of each path. ValueError for what is no file."""
    if isinstance(value, Path):
        if not value.is_file():
            found = "is no file" if value.exists() else "is not there"
            raise ValueError(
                f"{name} = {value} {found}; expected a file, whose content names the run"
            )
        return f"sha256:{known_hash(value)}"
    if isinstance(value, dict) and isinstance(dumped, dict):
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {key: _content(inner, plain, name) for inner, (key, plain) in pairs}
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_content(*pair, name) for pair in zip(value, dumped, strict=True)]
    return dumped


def _holds_path(value: Any) -> bool:
    if isinstance(value, dict | list | tuple | set | frozenset):
        return any(map(_holds_path, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Path)


def _unsaid(config: BaseModel) -> set[str]:
    """Knobs that a spec leaves out: those marked as added later that stand at their default."""
    return {
        name
        for name, knob in type(config).model_fields.items()
        if isinstance(knob.json_schema_extra, dict)
        and knob.json_schema_extra.get("added_later")
        and getattr(config, name) == knob.default
    }
