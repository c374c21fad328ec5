"""Which records a verb looks at: those of its files or folders that pass its filters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harness.records.schema import Record

#: More files and folders are counted instead of named.
MOST_NAMED = 3


class SelectedRecords(NamedTuple):
    """The records that pass, how many were read, and where from."""

    kept: list[Record]
    read: int
    where: str


def select(
    files: Sequence[Path] | None,
    results: Path,
    data_root: Path | None,
    *,
    methods: Sequence[str] | None = None,
    scenarios: Sequence[str] | None = None,
    profile: str | None = None,
    student: str | None = None,
    suite: str | None = None,
) -> SelectedRecords:
    """Records of the files, by default of `results`; a filter that is empty or None passes all."""
    from harness.config import catalogue
    from harness.records import store
    from methods.registry import canonical

    folder = results / "records"
    searched = files or ([folder] if folder.is_dir() else [])
    records = store.read_all(searched)
    names = [canonical(name) for name in methods or ()]
    asked = None
    if suite:
        from harness.config.suites import run_ids

        asked = run_ids(catalogue.suite(suite), data_root)
    kept = [
        r
        for r in records
        if (not names or r.spec.method in names)
        and (not scenarios or r.spec.scenario.name in scenarios)
        and profile in (None, r.spec.profile.name)
        and student in (None, r.spec.student)
        and (asked is None or r.spec.run_id in asked)
    ]
    places = files or [folder]
    where = ", ".join(map(str, places)) if len(places) <= MOST_NAMED else f"{len(places)} files"
    return SelectedRecords(kept, len(records), where)
