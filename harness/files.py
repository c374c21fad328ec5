"""Files: written whole or not at all, and named by their content."""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from harness.errors import BenchError

#: Temporary files of other machines are removed after so long; their clocks may differ by hours.
ABANDONED_SECONDS = 24 * 3600


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`; at the end of the block it is renamed to `path`.

    Folders above are made. After an error in the block the temporary file is removed and `path` is
    as it was. The file's mode is 0666 less the umask, whatever the writer set; its content is on
    the disk before the rename. OSError where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary_name(path)
    try:
        partial.touch(exist_ok=False)
        mode = partial.stat().st_mode & 0o777
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(
    path: Path, rename: Callable[[Path, Path], object] = Path.replace
) -> Iterator[Path]:
    """The same for a folder: yield an empty one beside `path`, renamed to it at the end.

    `path` may be an empty folder. `rename(temporary, path)` is for callers that know what to do
    when `path` has appeared meanwhile. OSError where the folder cannot be written or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = temporary_name(path)
    building.mkdir()
    try:
        yield building
        rename(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` that no other thread, process or machine uses.

    It holds our process id and the machine that this id means something on.
    """
    token = f"{os.getpid()}-{this_machine()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{token}.tmp")


@functools.cache
def this_machine() -> str:
    """Names where process ids are ours, 8 hex digits: host, boot, and namespace (a container)."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def remove_abandoned(path: Path) -> None:
    """Remove temporary files and folders of `path` whose processes have ended.

    Those of living processes stay. Of another machine's processes nobody here knows, so theirs stay
    until nothing has been written to them for ABANDONED_SECONDS: who fills a folder for longer must
    touch it meanwhile.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.tmp"):
        pid, *rest = left.name.removeprefix(f".{path.name}.").removesuffix(".tmp").split("-")
        if not pid.isdigit():
            continue
        if len(rest) == 2 and rest[0] == this_machine():
            abandoned = int(pid) != os.getpid() and not psutil.pid_exists(int(pid))
        else:
            abandoned = _age(left) > ABANDONED_SECONDS
        if abandoned and left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif abandoned:
            left.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Seconds since a file or folder was last written to; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def file_hash(path: str | Path) -> str:
    """Sha256 of a file's content, 16 hex digits. BenchError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; expected a readable checkpoint.") from error
    return digest.hexdigest()[:16]


def content_hash(value: Any) -> str:
    """Hash any JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]
