"""Scenarios, profiles and suites by name, from benchmarks/*.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.config.schema import Profile, Scenario, Suite
from harness.errors import BenchError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from harness.errors import explain, in_one_line, unknown
from harness.files import read_text

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def names(kind: str) -> list[str]:
    """Names of that kind: scenarios, profiles or suites."""
    return sorted(path.stem for path in (BENCHMARKS / kind).glob("*.toml"))


def read(kind: str, name: str) -> dict[str, Any]:
    """The TOML of that name, or at that path. BenchError when there is none or it is broken."""
    path = BENCHMARKS / kind / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise _missing(kind, name)
    try:
        text = read_text(path)
    except ValueError as error:
        raise BenchError(f"{path} {error}.") from error
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; expected a readable TOML file.") from error
    try:
        return {"name": path.stem} | tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid TOML: {in_one_line(error)}.") from error


def _missing(kind: str, name: str) -> BenchError:
    """The error for a file that is not there, or for a name that is none."""
    what, path = kind.removesuffix("s"), Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        found = "a folder" if path.is_dir() else "no such file"
        if path.is_file():
            found = "not called .toml"
        return BenchError(
            f"{name}: {found}; expected the TOML file of a {what}, or a name that "
            f"`bench list {kind}` prints."
        )
    return unknown(what, name, names(kind), f"bench list {kind}")


def scenario(name: str) -> Scenario:
    return _validated(Scenario, "scenarios", name)


def profile(name: str) -> Profile:
    return _validated(Profile, "profiles", name)


def suite(name: str) -> Suite:
    return _validated(Suite, "suites", name)


def _validated(model: Any, kind: str, name: str) -> Any:
    values = read(kind, name)
    try:
        return model(**values)
    except ValidationError as error:
        where = name if name.endswith(".toml") else f"{kind}/{name}.toml"
        raise BenchError(f"{where}: {explain(error)}.") from error
