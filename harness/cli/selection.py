"""Which records a verb looks at: those of its files or folders that pass its filters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import BenchError, nearest

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
    """Records of the files, by default of `results`; a filter that is empty or None passes all.

    BenchError, with those that there are, where no record read has a filter's value: always of a
    name that is none, of any other where nothing is left.
    """
    from harness.config import catalogue
    from harness.records import store
    from methods import registry
    from methods.networks import zoo

    folder = results / "records"
    searched = files or ([folder] if folder.is_dir() else [])
    records = store.read_all(searched)
    names = [registry.canonical(name) for name in methods or ()]
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
    if records:
        specs = [record.spec for record in records]
        _refuse_missing("--method", names, {s.method for s in specs}, registry.names(), kept, where)
        shown, known = {s.scenario.name for s in specs}, catalogue.names("scenarios")
        _refuse_missing("--scenario", scenarios or (), shown, known, kept, where)
        shown, known = {s.profile.name for s in specs}, catalogue.names("profiles")
        _refuse_missing("--profile", filter(None, [profile]), shown, known, kept, where)
        shown = {s.student for s in specs}
        _refuse_missing("--student", filter(None, [student]), shown, zoo.names(), kept, where)
    return SelectedRecords(kept, len(records), where)


def refuse_failed(records: Sequence[Record], where: str) -> None:
    """BenchError where records were found and each is of a run that failed."""
    if records and all(record.state == "failed" for record in records):
        raise BenchError(
            f"no done run: all {len(records)} that pass the filters in {where} failed; `bench "
            "table`, in a form other than csv, says why, and the same `bench run` tries again."
        )


def _refuse_missing(
    option: str,
    asked: Iterable[str],
    shown: set[str],
    known: Sequence[str],
    kept: Sequence[Record],
    where: str,
) -> None:
    """BenchError for a value that no record has (`shown`), and that is no `known` name or the
    reason why none is left."""
    for name in asked:
        if name not in shown and (not kept or name not in known):
            there = sorted(shown)
            rest = f"there are: {', '.join(there)}." if name in known else nearest(name, there)
            raise BenchError(f"{option} {name}: no record in {where} has it; {rest}")
