"""Files: written whole or not at all, and named by their content."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from harness.errors import BenchError


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
    """A hidden name beside `path` that no other thread or process uses; it holds our process id."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def remove_abandoned(path: Path) -> None:
    """Remove temporary files and folders of `path` whose processes no longer run on this machine.

    Those of living processes stay.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.tmp"):
        pid = left.name.removeprefix(f".{path.name}.").partition("-")[0]
        if not pid.isdigit() or int(pid) == os.getpid() or psutil.pid_exists(int(pid)):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


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
