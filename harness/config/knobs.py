"""A method's knobs: what its Config makes of them, and what of them names a run."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from harness.config.schema import Profile, Scenario
from harness.errors import BenchError, explain, in_one_line, shortened
from harness.files import known_hash

#: Errors of pydantic where a field goes by another name.
ALIAS = ("missing", "extra_forbidden")


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
    """The method's Config of these knobs.

    BenchError for a knob that is missing or does not fit, or that JSON would change.
    """
    try:
        checked = config(**knobs)
    except ValidationError as error:
        missing = (e["loc"] for e in error.errors() if e["type"] == "missing")
        remedy = "".join(f" --set {name}=VALUE" for name, *inner in missing if not inner)
        raise BenchError(
            f"method {method}: {explain(error)}" + (f"; give{remedy}." if remedy else "")
        ) from error
    _check_defaults(method, checked)
    _check_read_back(method, checked)
    return checked


def _check_defaults(method: str, config: BaseModel) -> None:
    """BenchError for a default that its knob would refuse: pydantic does not look at them."""
    fields = type(config).model_fields
    try:
        type(config)(**{name: getattr(config, name) for name in fields})
    except ValidationError as error:
        for e in error.errors():
            name = str(e["loc"][0]) if e["loc"] else ""
            # Those of an alias are missing, or strange, under the field's name.
            if name in fields and name not in config.model_fields_set and e["type"] not in ALIAS:
                raise BenchError(
                    f"method {method}: its Config refuses its own default, {explain(error)}; "
                    "expected a default that the knob's type and checks accept: correct the one or "
                    "the other in the method's code."
                ) from error


def _check_read_back(method: str, config: BaseModel) -> None:
    """BenchError unless a sweep's worker, which gets the knobs as JSON, makes the same of them."""
    reason = ""
    try:
        written = _written(config)
        read = _written(type(config)(**config.model_dump(mode="json")))
    except ValidationError as error:
        reason = f"{explain(error)}; expected no computed field, no alias without populate_by_name"
    except ValueError as error:
        reason = f"{in_one_line(error)}; expected values that JSON has"
    else:
        for name in type(config).model_fields:
            if name not in written:
                reason = f"{name} is not written; expected no field with exclude=True"
            elif read.get(name) != written[name]:
                values = f"{name} = {shortened(written[name])} becomes {shortened(read.get(name))}"
                reason = f"{values}; expected a validator that leaves its own result as it is"
    if reason:
        raise BenchError(
            f"method {method}: its Config does not read back the knobs that it writes: {reason}."
        )


def naming(method: str, config: BaseModel) -> dict[str, Any]:
    """The knobs as a spec holds them, JSON values: files by their content, as `sha256:` and so on.

    Left out are a teacher's weights, which the spec names elsewhere, and knobs marked as added
    later that stand at their default. BenchError for a file that is not there.
    """
    try:
        return _written(config, {"teacher_checkpoint", *_unsaid(config)}, hashed=True)
    except ValueError as error:
        raise BenchError(f"method {method}: {error}.") from error


def files(config: BaseModel) -> list[str]:
    """The knobs that name files."""
    return [name for name, value in config.model_dump().items() if _holds_path(value)]


def _written(
    config: BaseModel, left_out: Set[str] = frozenset(), *, hashed: bool = False
) -> dict[str, Any]:
    """The knobs as JSON, sets in one order; `hashed`: paths as what the file holds."""
    modes: tuple[Literal["python", "json"], ...] = ("python", "json")
    values, dumped = (config.model_dump(mode=mode, exclude={*left_out}) for mode in modes)
    return {knob: _json(knob, values[knob], dumped[knob], hashed) for knob in dumped}


def _json(knob: str, value: Any, dumped: Any, hashed: bool) -> Any:
    """The same of one value, or of one within it. ValueError for a path of no file."""
    if isinstance(value, Path) and hashed:
        if not value.is_file():
            found = "is no file" if value.exists() else "is not there"
            raise ValueError(
                f"{knob} = {value} {found}; expected a file, whose content names the run"
            )
        return f"sha256:{known_hash(value)}"
    table = isinstance(value, dict) and isinstance(dumped, dict)
    listed = isinstance(value, list | tuple | Set) and isinstance(dumped, list)
    if not (table or listed) or len(value) != len(dumped):  # by a serialiser of its own, perhaps
        return dumped
    if table:
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {key: _json(knob, inner, plain, hashed) for inner, (key, plain) in pairs}
    items = [_json(knob, *pair, hashed) for pair in zip(value, dumped, strict=True)]
    return sorted(items, key=_order) if isinstance(value, Set) else items


def _order(value: Any) -> tuple[int, str]:
    """By which the JSON values of a set are sorted, whole numbers by their size."""
    text = json.dumps(value, sort_keys=True)
    return len(text), text


def _holds_path(value: Any) -> bool:
    if isinstance(value, dict | list | tuple | Set):
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
