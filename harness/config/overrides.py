"""`--set key=value`: any knob of method, profile or scenario, type-checked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from harness.config.catalogue import check_convention, data_set_names
from harness.config.schema import Profile, Scenario
from harness.errors import BenchError, explain, shortened, unknown
from harness.evaluation.registry import check_metrics
from methods import registry

log = logging.getLogger(__name__)

#: Fields that are not set here -> what to do instead.
FIXED = {
    "edition": "It belongs to the profile's file; use --profile FILE.toml.",
    "name": "It names the file; use --profile or --scenario.",
    "knobs": "Set the method's knobs themselves: --set KNOB=VALUE.",
    "target_knobs": "Set the method's knobs themselves: --set KNOB=VALUE.",
    "student": "Use --student NETWORK.",
    "seed": "Use --seed N.",
}


def apply_overrides(
    overrides: Iterable[str],
    profile: Profile,
    scenario: Scenario,
    config: type[BaseModel],
    knobs: dict[str, Any],
) -> tuple[Profile, Scenario, dict[str, Any]]:
    """Return profile, scenario and method knobs with each `key=value` put where it belongs.

    A key is a field's name, or `method.`, `profile.` or `scenario.` and the name; `.entry` reaches
    into a table. BenchError for unknown keys, with the nearest name, for values that do not fit,
    each by itself or together, and for knobs of the profile that no method has. Knobs that are
    missing, and those that were given, are left to `knobs.config_of`.
    """
    check_knobs(profile)
    fields = {
        "method": config.model_fields,
        "profile": Profile.model_fields,
        "scenario": Scenario.model_fields,
    }
    values = {
        "method": dict(knobs),
        "profile": profile.model_dump(),
        "scenario": scenario.model_dump(),
    }
    keys: dict[str, dict[str, str]] = {owner: {} for owner in fields}  # of each field, as typed
    for override in overrides:
        key, equals, raw = override.partition("=")
        if not equals:
            raise BenchError(f"--set {override}: expected KEY=VALUE, for example iterations=200.")
        owner, name, entry = _locate(key := key.strip(), fields)
        annotation, table = fields[owner][name].annotation, values[owner].get(name, {})
        if not entry:
            values[owner][name] = _parse(raw.strip(), annotation, key)
        elif name == "image_size" and entry not in data_set_names():
            raise unknown(f"data set in --set {key}:", entry, data_set_names())
        elif get_origin(annotation) is dict and isinstance(table, dict):
            value = _parse(raw.strip(), get_args(annotation)[1], key)
            values[owner][name] = {**table, entry: value}
        else:
            raise BenchError(f"--set {key}: {name} is no table; expected --set {name}=...")
        keys[owner][name] = key
    for owner, model in (("method", config), ("profile", Profile), ("scenario", Scenario)):
        _check(model, values[owner], keys[owner])
    made = Scenario(**values["scenario"])
    try:
        check_convention(made)
    except BenchError as error:
        raise BenchError(f"--set convention: {error}") from error
    changed = Profile(**values["profile"])
    check_metrics(changed.metrics)
    return changed, made, values["method"]


def check_knobs(profile: Profile) -> None:
    """Refuse knobs of a profile that no known method has, plug-ins included.

    Knobs that only other methods have are fine: a profile serves many. BenchError with the nearest
    name; none where a plug-in cannot be imported, for the knob may be its own.
    """
    tables = {"[knobs]": profile.knobs}
    for target, knobs in profile.target_knobs.items():
        if target not in data_set_names():
            where = f"data set in profile {profile.name!r}, [target_knobs]:"
            raise unknown(where, target, data_set_names())
        tables[f"[target_knobs.{target}]"] = knobs
    missing = set().union(*tables.values())
    known: set[str] = set()
    broken = []
    for method in registry.names():  # imported one by one, until every knob has been found
        if missing <= known:
            return
        try:
            known |= registry.load(method).Config.model_fields.keys()
        except ValueError:
            broken.append(method)
    strange = sorted(missing - known)
    if not strange:
        return
    if broken:
        log.warning(
            "profile %s: no method has the knobs %s, unless %s has, which cannot be imported",
            profile.name,
            ", ".join(strange),
            ", ".join(broken),
        )
        return
    table = next(name for name, knobs in tables.items() if strange[0] in knobs)
    error = unknown(f"knob in profile {profile.name!r}, {table}:", strange[0], sorted(known))
    raise BenchError(f"{error} Of a method in a file: give the file, --plugin FILE.")


def _locate(key: str, fields: dict[str, Any]) -> tuple[str, str, str]:
    """Split a key into the owner, the field and the entry of its table."""
    owner, _, rest = key.partition(".")
    owners = [owner] if owner in fields and rest else list(fields)
    name, _, entry = (rest if len(owners) == 1 else key).partition(".")
    if name in FIXED:
        raise BenchError(f"--set {key}: unknown key {key!r}; expected a knob. {FIXED[name]}")
    holders = [o for o in owners if name in fields[o]]
    if not holders:
        known = [n for o in owners for n in fields[o] if n not in FIXED]
        raise BenchError(
            f"--set {key}: {unknown('key', key, known)} `bench info NAME` lists the knobs of a "
            "method, a profile or a scenario."
        )
    return holders[0], name, entry


def _parse(raw: str, annotation: Any, key: str) -> Any:
    """JSON where it is JSON; for lists `a,b` too; for texts and files what was typed, or null.

    BenchError for lists within lists without end.
    """
    types = _types(annotation)
    wanted = types - {type(None)}
    listed = tuple in wanted or wanted <= {list, set, frozenset}
    if listed and not raw.startswith("[") and raw != "null":
        return raw.split(",")
    if annotation is str:
        return raw
    try:
        value = json.loads(raw)
    except RecursionError:
        raise BenchError(
            f"--set {key}={shortened(raw)}: lists within lists, deeper than can be read; expected "
            "a number, a text or a list of them."
        ) from None
    except ValueError:  # no JSON, or more digits than Python turns into a number
        return raw
    return value if not wanted <= {str, Path} or type(value) in (str, *types - wanted) else raw


def _types(annotation: Any) -> set[Any]:
    """Which types a value may have, without those of what is in it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return set().union(*map(_types, parts))
    if origin is Annotated:
        return _types(parts[0])
    return set(map(type, parts)) if origin is Literal else {origin or annotation}


def _check(model: type[BaseModel], values: dict[str, Any], keys: dict[str, str]) -> None:
    """BenchError, which names the keys at fault, where it is not other knobs alone that are."""
    try:
        model(**values)
    except ValidationError as error:
        names = {str(e["loc"][0]) if e["loc"] else "" for e in error.errors()}
        # Fields that do not fit together may be any of those that were set.
        at_fault = list(keys.values()) if "" in names else [keys[n] for n in keys if n in names]
        if at_fault:
            raise BenchError(f"--set {', '.join(at_fault)}: {explain(error)}") from error
