"""A run's result as one JSON, written atomically. The schema is documented in docs/records.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.errors import BenchError
from harness.files import write_text
from harness.records.schema import (
    SCHEMA,
    Record,
)


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
    """
    places = [where] if isinstance(where, Path) else list(where)
    files: set[Path] = set()
    for place in places:
        files.update(place.rglob("*.json") if place.is_dir() else [place])
    records = [record for file in {f.resolve() for f in files} for record in _read_file(file)]
    return sorted(records, key=_order)


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
    return json.loads(part.model_dump_json())


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


def _read_file(path: Path) -> list[Record]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(
            f"{path}: no such file; a record or a folder of records expected."
        ) from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: not a readable JSON file ({error}).") from None
    return [_parse(item, path) for item in (content if isinstance(content, list) else [content])]


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
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BenchError(f"{path}: broken record, {field}: {first['msg']}.") from None
