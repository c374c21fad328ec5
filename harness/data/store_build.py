"""Builds a store of decoded pixels: what it will cost, then what is missing of it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.config.schema import DataStore
from harness.data import fingerprint
from harness.data.datasets import Dataset
from harness.data.fingerprint import FilesRead, file_states
from harness.data.store import DESCRIPTION, FileKind, Store, encode
from harness.errors import DataError
from harness.files import free_bytes, remove_abandoned
from harness.locks import one_at_a_time
from harness.measure.environment import usable_cpus

#: Samples that an estimate encodes, spread over the split.
ESTIMATED_FROM = 3
#: A run builds a store by itself where it takes at most this share of the free disk.
SHARE_OF_FREE = 0.5


@dataclass(frozen=True)
class Estimate:
    """What is still to be built: files, bytes on disk, seconds on this machine's cores."""

    files: int
    size_bytes: int
    seconds: float
    free_bytes: int

    def __str__(self) -> str:
        minutes = f"{self.seconds / 60:.0f} minutes" if self.seconds >= 90 else "a minute or less"
        return (
            f"{self.files} files to build, about {size_text(self.size_bytes)} and {minutes}; "
            f"{size_text(self.free_bytes)} are free"
        )


def size_text(size_bytes: float) -> str:
    """In decimal units, as disks are sold."""
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.1f} MB"


def missing(store: Store, parts: Sequence[FileKind]) -> list[tuple[FileKind, int, str]]:
    """Kind, index and name of each file that a store still lacks."""
    held = store.held()
    return [
        (part, index, name)
        for part in parts
        for index, name in enumerate(store.names(part))
        if name and name not in held
    ]


def estimate(store: Store, parts: Sequence[FileKind]) -> Estimate:
    """Encode a few of the missing files in memory. DataError for one that cannot be read."""
    files = missing(store, parts)
    size = seconds = 0.0
    for part in parts:
        wanted = [index for its_part, index, _ in files if its_part == part]
        sampled = wanted[:: max(len(wanted) // ESTIMATED_FROM, 1)][:ESTIMATED_FROM]
        for index in sampled:
            start = time.perf_counter()
            content = encode(store.pixels(part, index), store.format)
            size += len(content) * len(wanted) / len(sampled)
            seconds += (time.perf_counter() - start) * len(wanted) / len(sampled)
    return Estimate(len(files), round(size), seconds / _threads(), free_bytes(store.folder))


def build(store: Store, parts: Sequence[FileKind], progress: FilesRead | None = None) -> int:
    """Write the files that are missing, remove those of changed sources; how many were written.

    One process at a time builds a store; another waits and finds it built. Where files cannot be
    locked two may build the same files, each of which is written whole. DataError for a source
    that cannot be read, and where the disk is full: what has been written stays and counts.
    """
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(store.folder / ".lock"):
            return _build(store, parts, progress)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        free = free_bytes(store.folder)
        raise DataError(
            f"the store of {store.dataset.name} {store.dataset.split} could not be written to "
            f"{store.folder}: {error.strerror or error}; "
            + (_too_large(estimate(store, parts)) if full else f"{size_text(free)} are free")
            + ". Make room, or name another cache folder with UDA_BENCH_CACHE; the same command "
            "goes on."
        ) from error


def _build(store: Store, parts: Sequence[FileKind], progress: FilesRead | None) -> int:
    store.describe()
    _wait_until_settled([file for part in parts for file in store.sources(part)])
    files = missing(store, parts)
    pool = ThreadPoolExecutor(_threads())  # decoding and encoding leave the interpreter free
    written = 0
    try:
        for done, whole in enumerate(pool.map(lambda file: store.write(*file), files), 1):
            written += whole
            if progress:
                progress(done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)
    _remove_outdated(store)
    return written


def _wait_until_settled(sources: list[Path]) -> None:
    """A file that changed just now could change again and keep its times: let those pass."""
    times = [max(state.mtime_ns, state.ctime_ns) for state in file_states(sources) if state]
    left = max(times, default=0) + fingerprint.SETTLED_NS - time.time_ns()
    if 0 < left <= fingerprint.SETTLED_NS:  # times in the future never pass
        time.sleep(left / 1e9)


def _remove_outdated(store: Store) -> None:
    """Files of sources that changed or went, and what killed builds left."""
    wanted: set[str | None] = {DESCRIPTION, ".lock"}
    wanted.update(store.names("image"), store.names("label"))
    for name in store.held() - wanted:
        path = store.folder / name
        if name.startswith("."):
            target = name[1:].rsplit(".", 2)[0]
            remove_abandoned(store.folder / target)
        else:
            path.unlink(missing_ok=True)


def ensure(
    dataset: Dataset,
    size: tuple[int, int],
    setting: DataStore,
    parts: Sequence[FileKind],
    say: Callable[[str], None],
    progress: FilesRead | None = None,
) -> None:
    """Before a run: build the store that its profile names, if it takes half of the free disk.

    Where it takes more, or cannot be written, one line says so and the run reads the files.
    """
    if setting == "off" or setting == "auto":  # mypy narrows no tuple
        return
    store = Store(dataset, size, setting)
    try:
        if not missing(store, parts):
            return
        cost = estimate(store, parts)
        say(f"store of {dataset.name} {dataset.split}, {setting}: {cost}")
        if cost.size_bytes > SHARE_OF_FREE * cost.free_bytes:
            raise DataError(
                f"the store of {dataset.name} {dataset.split} is not built by itself: "
                f"{_too_large(cost)}, expected at most half. `bench data cache` builds it all "
                "the same"
            )
        build(store, parts, progress)
    except DataError as error:
        say(f"{error} Training reads the data set's own files.")


def check_room(cost: Estimate) -> None:
    """DataError where what is to be built does not fit on the disk."""
    if cost.size_bytes > cost.free_bytes:
        raise DataError(
            f"the store does not fit: {_too_large(cost)}. Make room, name another cache folder "
            "with UDA_BENCH_CACHE, or take --format compressed."
        )


def _too_large(cost: Estimate) -> str:
    return f"{size_text(cost.size_bytes)} needed, {size_text(cost.free_bytes)} free"


def _threads() -> int:
    return usable_cpus()
