"""What runs of one table differ in beside their settings: code, torch, machine. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.records.schema import Record, hardware, provenance

MOST_NAMED = 6  # rows in a note


def device_kind(record: Record) -> Literal["CPU", "GPU"] | None:
    """Where it ran; None for a failed run that came to no device."""
    if provenance(record, "gpu"):
        return "GPU"
    known = provenance(record, "environment").get("device")
    if known:
        return "CPU" if known == "cpu" else "GPU"
    return "CPU" if record.state == "done" else None


def origin(records: Iterable[Record]) -> str:
    """What made records, as a title says it: `commit 1234567, torch 2.8.0`; each where several."""
    records = list(records)
    commits = {_commit(record) for record in records if provenance(record, "code").get("commit")}
    torches = {version for record in records if (version := _torch(record))}
    return ", ".join([*sorted(commits), *sorted(torches)])


def mixture(rows: Mapping[str, Sequence[Record]]) -> list[str]:
    """A warning for each condition that the runs of these rows, by label, do not share.

    A second names each row whose own seeds differ in it. Where a record does not say, nothing is
    compared. Commits of equal code fingerprints are one version of the code.
    """
    return [note for aspect in _aspects(rows) for note in aspect.notes(rows)]


@dataclass(frozen=True)
class _Aspect:
    what: str  # plural
    consequence: str
    value: Callable[[Record], str | None]

    def notes(self, rows: Mapping[str, Sequence[Record]]) -> list[str]:
        """None where all that is known is the same."""
        seeds_of = {label: self._seeds(runs) for label, runs in rows.items()}
        counts: Counter[str] = Counter()
        for by_value in seeds_of.values():
            counts.update({value: len(seeds) for value, seeds in by_value.items()})
        usual, *others = sorted(counts, key=lambda value: (-counts[value], value)) or [""]
        if not others:
            return []
        named = "; ".join(
            f"{value} in {_listed([row for row, seeds in seeds_of.items() if value in seeds])}"
            for value in others
        )
        notes = [
            f"Warning: rows hold runs of {len(counts)} {self.what}: {usual}, but {named}: "
            f"{self.consequence}."
        ]
        for label, by_value in seeds_of.items():
            if len(by_value) > 1:
                parts = [f"{value} for {_seeds(by_value[value])}" for value in sorted(by_value)]
                notes.append(f"Warning: {label} is a mean over {self.what}: {'; '.join(parts)}.")
        return notes

    def _seeds(self, runs: Sequence[Record]) -> dict[str, list[int]]:
        seeds: dict[str, list[int]] = defaultdict(list)
        for run in runs:
            value = self.value(run)
            if value is not None:
                seeds[value].append(run.spec.seed)
        return seeds


def _aspects(rows: Mapping[str, Sequence[Record]]) -> list[_Aspect]:
    records = [run for runs in rows.values() for run in runs]
    code = _versions_of_the_code(records)
    figures = "a difference between them may be in the figures"
    lengths = {run.spec.profile.length for runs in rows.values() for run in runs}
    by_seconds = " and gains at equal seconds" if len(lengths) > 1 else ""
    apart = "are not comparable between them"
    return [
        _Aspect("versions of the code", figures, code),
        _Aspect("versions of torch", figures, _torch),
        _Aspect("TF32 settings", figures, _tf32),
        _Aspect("machines", f"speeds {apart}", _machines(records)),  # gains' seconds are of one
        _Aspect("kinds of sweep", f"speeds{by_seconds} {apart}", _side_by_side),
    ]


def _machines(records: Sequence[Record]) -> Callable[[Record], str]:
    """What names a record's machine: with the cores that it might use, where one had several."""
    cores: dict[str, set[int]] = defaultdict(set)
    for record in records:
        if usable := _cores(record):
            cores[hardware(record)].add(usable)

    def name(record: Record) -> str:
        machine, usable = hardware(record), _cores(record)
        if not usable or len(cores[machine]) < 2:
            return machine
        return f"{machine} with {usable} core{'s' if usable > 1 else ''}"

    return name


def _cores(record: Record) -> int | None:
    """That the run might use; None of a GPU's, whose speed is not theirs."""
    usable = provenance(record, "cpu").get("usable")
    return usable if isinstance(usable, int) and device_kind(record) == "CPU" else None


def _versions_of_the_code(records: Sequence[Record]) -> Callable[[Record], str | None]:
    """What names a record's code: its fingerprint with the commits that have it, or its commit."""
    of_commit: dict[str, str] = {}
    commits: dict[str, set[str]] = defaultdict(set)
    for record in records:
        code = provenance(record, "code")
        if code.get("fingerprint") and code.get("commit"):
            commits[code["fingerprint"]].add(_commit(record))
            if not code.get("dirty"):
                of_commit[code["commit"]] = code["fingerprint"]

    def name(record: Record) -> str | None:
        code = provenance(record, "code")
        fingerprint, commit = code.get("fingerprint"), code.get("commit")
        if not fingerprint and commit and not code.get("dirty"):
            fingerprint = of_commit.get(commit)  # an older record of the same code
        if fingerprint:
            known = ", ".join(sorted(commits[fingerprint]))
            return f"code {fingerprint}" + (f" ({known})" if known else "")
        if commit:
            return _commit(record)
        version = code.get("version")
        return f"version {version}" if version else None

    return name


def _commit(record: Record) -> str:
    code = provenance(record, "code")
    return f"commit {str(code['commit'])[:7]}" + (" with changes" if code.get("dirty") else "")


def _torch(record: Record) -> str | None:
    version = provenance(record, "versions").get("torch")
    return f"torch {version}" if version else None


def _tf32(record: Record) -> str | None:
    """Of a GPU only: no CPU has TF32."""
    settings = provenance(record, "environment").get("tf32")
    if not isinstance(settings, dict) or device_kind(record) != "GPU":
        return None
    words = {True: "on", False: "off"}
    return ", ".join(
        f"{name} {words.get(on, 'not known')}" for name, on in sorted(settings.items())
    )


def _side_by_side(record: Record) -> str | None:
    count = record.provenance.get("side_by_side")
    if not isinstance(count, int):
        return None
    return "one run at a time" if count == 1 else f"{count} runs side by side"


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - MOST_NAMED
    return ", ".join(labels[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _seeds(seeds: Sequence[int]) -> str:
    numbers = sorted(set(seeds))
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
