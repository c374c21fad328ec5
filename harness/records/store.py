"""A run's result as one JSON, written atomically. The schema is documented in docs/records.md."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.errors import BenchError, in_one_line
from harness.files import parsed_json, read_text, write_text
from harness.records.schema import SCHEMA, Record
from harness.text import is_plain_json, plain_values

log = logging.getLogger(__name__)


def write(record: Record, folder: Path) -> Path:
    """Write a record under its own name, whole or not at all, and return the file.

    A failed run's file ends in `.failed.json`, so that it never takes the place of a done one; a
    done record removes the failed one of the same run.
    """
    stem = _stem(record)
    failed = folder / f"{stem}.failed.json"
    if record.state == "failed":
        return write_text(failed, as_json(record))
    path = write_text(folder / f"{stem}.json", as_json(record))
    failed.unlink(missing_ok=True)
    return path


def write_list(records: Iterable[Record], path: Path) -> Path:
    """Write several records as one JSON list, such as a baseline of `bench check`."""
    return write_text(path, _pretty([_plain(record) for record in records]) + "\n")


def read(path: Path) -> Record:
    """Read one record; raises BenchError with the file and the reason."""
    records = _read_file(path)
    if len(records) != 1:
        raise BenchError(f"{path}: {len(records)} records found, one expected.")
    return records[0]


def read_all(where: Path | Iterable[Path]) -> list[Record]:
    """Read every record of a folder (searched to its depth), a file or several of them.

    A file holds one record or a list of them. The order is by run, whatever the order of the files.
    What a folder holds under a name in `.json` and cannot be read as records is left out, with one
    warning a file in the log, once a process. A file that is named itself raises BenchError.
    """
    files: dict[str, Path] = {}  # by the file that links lead to: each is read once
    named: set[str] = set()
    for given in [where] if isinstance(where, Path) else where:
        if given.is_dir():
            for file in sorted(given.rglob("*.json")):
                files.setdefault(os.path.realpath(file), file)
        else:
            named.add(os.path.realpath(given))
            files[os.path.realpath(given)] = given
    records: list[Record] = []
    for real, file in files.items():
        try:
            records += _read_file(file)
        except BenchError as error:
            if real in named:
                raise
            if os.path.lexists(file):  # else removed since: a run that is done removes its failure
                _warn(in_one_line(error))
    return sorted(records, key=_order)


@cache
def _warn(reason: str) -> None:
    """Once a process: a sweep reads its folder before it starts and when it is done."""
    log.warning("skipped %s", reason)


def _order(record: Record) -> tuple[Any, ...]:
    spec = record.spec
    names = (spec.scenario.name, spec.profile.name, spec.method, spec.student)
    return (*names, spec.seed, record.run_id, record.state, record.created)


def _stem(record: Record) -> str:
    spec = record.spec
    names = [spec.method, spec.scenario.name, spec.profile.name, spec.student, f"s{spec.seed}"]
    # A network's name may be a path of a config: no separator may reach the file system.
    return "-".join(re.sub(r"[^\w.+]+", "_", name) for name in [*names, record.run_id])


def _plain(part: BaseModel) -> Any:
    return _strict(plain_values(part.model_dump(mode="json")))


def _strict(value: Any) -> Any:
    """NaN and infinity are no JSON: the strings that a float is read from in their place."""
    if isinstance(value, dict):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _pretty(value: Any, indent: int = 0) -> str:
    """JSON a person can read: a list of plain values, such as a matrix's row, stays on one line."""
    if isinstance(value, dict) and value:
        brackets, lines = (
            "{}",
            [f"{json.dumps(k)}: {_pretty(v, indent + 1)}" for k, v in value.items()],
        )
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        brackets, lines = "[]", [_pretty(item, indent + 1) for item in value]
    else:
        return json.dumps(value, ensure_ascii=False)
    pad = " " * indent
    return brackets[0] + ",".join(f"\n{pad} {line}" for line in lines) + f"\n{pad}" + brackets[1]


def as_json(part: BaseModel) -> str:
    """A record, or another part, as JSON that a person can read."""
    return _pretty(_plain(part)) + "\n"


def as_json_list(parts: Sequence[BaseModel]) -> str:
    """The same of several, as a list."""
    return _pretty([_plain(part) for part in parts]) + "\n"


def _read_file(path: Path) -> list[Record]:
    try:
        text = read_text(path)  # a record has about 10 000 bytes: a list of 6000 still fits
        if record := _plain_record(text):
            return [record]
        content = plain_values(parsed_json(text))
    except FileNotFoundError:
        reason = "a link to nowhere" if path.is_symlink() else "no such file"
        raise BenchError(f"{path}: {reason}; a record or a folder of records expected.") from None
    except ValueError as error:
        raise BenchError(f"{path} {error}; a record expected.") from None
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; a readable record expected.") from None
    return [_parse(item, path) for item in (content if isinstance(content, list) else [content])]


def _plain_record(text: str) -> Record | None:
    """The record that most files hold, in a quarter of the time: whole, of this schema, ASCII.

    None for any other text, which is to be cleaned, or of which an error has to say what it lacks.
    """
    if not is_plain_json(text):
        return None
    try:
        record = Record.model_validate_json(text)
    except ValidationError:
        return None
    has_version = "schema_version" in record.model_fields_set
    return record if has_version and record.schema_version == SCHEMA else None


def _parse(item: Any, path: Path) -> Record:
    if not isinstance(item, dict) or "schema_version" not in item:
        raise BenchError(f"{path}: not a record of uda-bench, it has no schema_version.")
    if item["schema_version"] != SCHEMA:
        raise BenchError(
            f"{path}: schema version {item['schema_version']} found, {SCHEMA} expected; "
            "read it with the uda-bench that wrote it, or run it again."
        )
    try:
        return Record.model_validate(item)
    except ValidationError as error:
        problems = error.errors()
    unknown = [p["loc"] for p in problems if p["type"] == "extra_forbidden"]
    if len(unknown) == len(problems):
        return _without(unknown, item, path)
    first = next(p for p in problems if p["type"] != "extra_forbidden")
    raise BenchError(f"{path}: broken record, {_dotted(first['loc'])}: {first['msg']}.")


def _without(unknown: Sequence[tuple[int | str, ...]], item: dict[str, Any], path: Path) -> Record:
    """A record of a newer uda-bench without the fields that this one does not know.

    A new field of the spec may be left out only at its default. The run's name tells: it is the
    hash of all that is not at its default. Elsewhere it is another run than the rest would say.
    """
    for loc in unknown:
        part: Any = item
        for name in loc[:-1]:
            part = part[name]
        del part[loc[-1]]
    try:
        record = Record.model_validate(item)
    except ValidationError as error:
        raise BenchError(f"{path}: broken record, {in_one_line(error)}") from None
    spec = [_dotted(loc) for loc in unknown if loc[0] == "spec"]
    if spec and record.spec.run_id != record.run_id:
        raise BenchError(
            f"{path}: written by a newer uda-bench, {', '.join(spec)} is not known here and "
            "changes the run; read it with the uda-bench that wrote it."
        )
    return record


def _dotted(loc: Iterable[int | str]) -> str:
    return ".".join(map(str, loc))
