"""Where everything that can be made again is kept."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from harness.errors import BenchError
from harness.files import remove_abandoned, temporary_name

DAY = 24 * 3600.0


@dataclass(frozen=True)
class Kind:
    """What is kept in the cache for one purpose: files or folders below it, by a pattern."""

    title: str
    pattern: str
    #: At most so many are kept, the least recently used go first; None: built on command, stays.
    most: int | None

    def paths(self) -> list[Path]:
        """Those that are there, the least recently used first."""
        there = cache_dir().glob(self.pattern)
        return sorted((path for path in there if not path.name.startswith(".")), key=_used)


GENERATED = Kind("generated data", "scenes-v*-*-????????????", 200)
DECODED = Kind("decoded images", "store/*-*-*x*-*-????????", None)
STATISTICS = Kind("class statistics", "class_stats/*.json", 1000)
SPEEDS = Kind("inference speeds", "inference/*.json", 1000)
HASHES = Kind("hashes of files", "file_hashes/*.json", 1000)
KINDS = (GENERATED, DECODED, STATISTICS, SPEEDS, HASHES)


@dataclass(frozen=True)
class Entry:
    """One file or folder of the cache."""

    kind: Kind
    path: Path
    size_bytes: int
    used: float  # seconds since the epoch, when something last read or wrote it


def cache_dir() -> Path:
    """Return our cache folder: UDA_BENCH_CACHE, or the user's own; never beside the data."""
    return Path(os.environ.get("UDA_BENCH_CACHE") or platformdirs.user_cache_dir("uda-bench"))


def check_cache() -> None:
    """BenchError where the cache folder cannot be written: before hours of work, not after."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchError(
            f"the cache folder {folder} cannot be written ({error.strerror}); expected one for "
            "generated data, class statistics and inference speeds: set UDA_BENCH_CACHE to another."
        ) from error


def entries() -> Iterator[Entry]:
    """Everything that the cache holds, kind by kind, the least recently used first.

    What else lies in its folder is not ours and is left out.
    """
    for kind in KINDS:
        for path in kind.paths():
            yield Entry(kind, path, _size(path), _used(path))


def mark_used(path: Path) -> None:
    """Note that a file or folder of the cache is used now; a cache that is read-only stays so."""
    with suppress(OSError):
        os.utime(path)


def keep_bounded(kind: Kind) -> None:
    """Remove the least recently used above the kind's bound, but none that a day's runs used."""
    paths = kind.paths()
    surplus = paths[: max(0, len(paths) - (kind.most or len(paths)))]
    for path in surplus:
        if time.time() - _used(path) > DAY:
            remove(path)


def unused(seconds: float) -> list[Entry]:
    """What nothing has used for so long."""
    latest = time.time() - seconds
    return [entry for entry in entries() if entry.used <= latest]


def prune(old: Sequence[Entry]) -> list[Entry]:
    """Remove entries, and what killed processes left behind; return those that are gone."""
    for entry in old:
        remove(entry.path)
    for kind in KINDS:
        remove_abandoned((cache_dir() / kind.pattern).with_name("*"))
    return [entry for entry in old if not entry.path.exists()]


def remove(path: Path) -> None:
    """Remove a file or folder of the cache: a folder is gone for others before its files are."""
    with suppress(OSError):  # another process did, or may and we may not
        if path.is_dir() and not path.is_symlink():
            aside = temporary_name(path)
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            path.unlink()


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total
