"""Data sets named by their content; a file's hash is kept in the cache, so that it is read once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from harness.data.cache import HASHES, cache_dir, keep_bounded, mark_used
from harness.errors import DataError
from harness.files import SETTLED_NS, map_files, read_json, write_text

#: Images of a split whose content is hashed; those whose names have the smallest hashes.
SAMPLED_IMAGES = 64

log = logging.getLogger(__name__)

#: Told the files read so far and all that must be read.
FilesRead = Callable[[int, int], None]


#: Told a data set's name beside that, of each set that is read.
SetRead = Callable[[str, int, int], None]
_TOLD: ContextVar[SetRead | None] = ContextVar("told of sets that are read", default=None)


@contextmanager
def hashing_told_to(watcher: SetRead) -> Iterator[None]:
    """Within the block, `watcher` is told of every file that is read to name a data set."""
    token = _TOLD.set(watcher)
    try:
        yield
    finally:
        _TOLD.reset(token)


class FileState(NamedTuple):
    """What changes with a file's content, as `stat` says it: bytes and nanoseconds."""

    size: int
    mtime_ns: int
    ctime_ns: int  # copies that keep the modification time are noticed too


def content_fingerprint(
    name: str,
    root: Path,
    pairs: Sequence[tuple[Path, Path]],
    tables: bytes,
    *,
    progress: FilesRead | None = None,
    reread: bool = False,
) -> str:
    """Hash a split by its content: 16 hex digits, the same wherever its files lie.

    It covers the names and sizes of all images and labels, the content of all labels and of
    SAMPLED_IMAGES images, and the `tables` from label ids to train ids. A label that does not exist
    counts as such. Hashes are kept in the cache by path, size and times: a second call costs one
    `stat` a file; `reread` reads the files all the same. DataError for a file that cannot be read.
    """
    files = [file for pair in pairs for file in pair]
    prefix = f"{root.as_posix()}/"
    names = [file.as_posix().removeprefix(prefix) for file in files]
    states = file_states(files)
    sampled = sorted(range(0, len(files), 2), key=lambda i: _digest(names[i].encode()))
    wanted = [*range(1, len(files), 2), *sampled[:SAMPLED_IMAGES]]
    index = _Index(root)
    unread = [i for i in wanted if states[i] and (reread or index.get(names[i], states[i]) is None)]
    started = time.time_ns()
    hashes = map_files(_hash, [files[i] for i in unread])
    for done, (i, value) in enumerate(zip(unread, hashes, strict=True), 1):
        index.put(names[i], states[i], value, started)
        if progress:
            progress(done, len(unread))
        if told := _TOLD.get():
            told(name, done, len(unread))
    if unread:
        index.save()
    hashed = set(wanted)
    digest = hashlib.sha256(name.encode() + tables)
    for i, (file, state) in enumerate(zip(names, states, strict=True)):
        content = index.get(file, state) if i in hashed and state else ""
        digest.update(f"{file} {state.size if state else -1} {content}\n".encode())
    return digest.hexdigest()[:16]


class _Index:
    """Hashes of the files below a folder, by name and state, in one file of the cache."""

    def __init__(self, root: Path) -> None:
        folder = _digest(os.fsencode(root.resolve()))
        self.path = cache_dir() / "file_hashes" / f"{folder}.json"
        self.entries: dict[str, list[int | str]] = {}
        self.unsettled: set[str] = set()
        with suppress(OSError, ValueError):  # not there, or not whole: the files are read
            entries = read_json(self.path)
            mark_used(self.path)
            if isinstance(entries, dict):
                self.entries = entries

    def get(self, name: str, state: FileState | None) -> str | None:
        entry = self.entries.get(name)
        if state is None or not isinstance(entry, list) or entry[:-1] != list(state):
            return None
        return str(entry[-1])

    def put(self, name: str, state: FileState | None, value: str, started_ns: int) -> None:
        assert state is not None
        self.entries[name] = [*state, value]
        if max(state.mtime_ns, state.ctime_ns) > started_ns - SETTLED_NS:
            self.unsettled.add(name)

    def save(self) -> None:
        """Keep what has settled; where the cache cannot be written, files are read again."""
        kept = {name: entry for name, entry in self.entries.items() if name not in self.unsettled}
        try:
            write_text(self.path, json.dumps(kept, separators=(",", ":")))
            keep_bounded(HASHES)
        except OSError as error:
            log.warning("hashes of files are not kept: %s", error)


def file_states(files: Sequence[Path]) -> list[FileState | None]:
    """State of each file, None for one that is not there; in threads."""
    return list(map_files(_state, files))


def _state(file: Path) -> FileState | None:
    try:
        status = os.stat(file)  # noqa: PTH116
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would never return
        return None
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _hash(file: Path) -> str:
    try:
        return _digest(file.read_bytes())
    except OSError as error:
        raise DataError(
            f"{file}: {error.strerror}; expected a file that can be read: see its permissions, or "
            "copy it again"
        ) from error


def _digest(content: bytes) -> str:
    """Sha256, 32 hex digits."""
    return hashlib.sha256(content).hexdigest()[:32]
