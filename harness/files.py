"""Files: text of any system, written whole or not at all, and named by their content."""

from __future__ import annotations

import codecs
import functools
import glob
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from harness.errors import BenchError

#: Bytes of the largest file that is read as text.
LARGEST_TEXT = 64 * 2**20
#: What changed less than this before it was read is read again: within the resolution of a file
#: system's clock a second change would leave the same times.
SETTLED_NS = 2_000_000_000
#: What lies in a folder and is not a file: opening one of these may never return.
FILE_TYPES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: How a text of another system may begin; UTF-16's mark is the start of UTF-32's.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def read_text(path: Path) -> str:
    """The text of a file, whichever system wrote it; lines end in LF.

    UTF-8, or UTF-16 and UTF-32 with a byte-order mark or without one. ValueError, in words that
    follow the file's name, where it is no such text, no regular file or above 64 MiB; OSError where
    it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"is {FILE_TYPES.get(stat.S_IFMT(status.st_mode), 'no file')}, not a file")
    if status.st_size > LARGEST_TEXT:
        raise ValueError(f"has {status.st_size} bytes, at most {LARGEST_TEXT} expected of a text")
    return decoded(path.read_bytes())


def decoded(content: bytes) -> str:
    """The text in the bytes of a file, as `read_text` takes it. ValueError where there is none."""
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    encoding = _BYTE_ORDER_MARKS[mark] if mark else _without_mark(content)
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        byte = content[len(mark) + error.start]
        raise ValueError(
            f"is no text in {encoding.upper()} (byte 0x{byte:02x} in line {line}); "
            "save it again as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError("is no text (it holds NUL characters); save it again as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file of any text that `read_text` takes. Errors as there."""
    return parsed_json(read_text(path))


def parsed_json(text: str) -> Any:
    """The value in a JSON text. ValueError, in words that follow a file's name, for any other."""
    try:
        return json.loads(text)
    except ValueError as error:  # a number of more than 4300 digits too
        raise ValueError(f"is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError("is not valid JSON: it is nested too deeply") from None


def _without_mark(content: bytes) -> str:
    """UTF-16 where every other byte of the start is mostly NUL, as in names and numbers."""
    start = content[:1024]
    pairs = len(start) // 2
    if pairs and len(content) % 2 == 0:
        for encoding, high, low in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
            if start[high::2].count(0) > 0.6 * pairs and not start[low::2].count(0):
                return encoding
    return "utf-8"


_T = TypeVar("_T")
_THREADS = 8
#: Files that one thread takes at a time; a task each would cost more than a small file's reading.
_BLOCK = 32
#: Temporary files of other machines are removed after so long; their clocks may differ by hours.
ABANDONED_SECONDS = 24 * 3600


def check_output_file(option: str, path: Path) -> None:
    """BenchError, before any work is done, unless a file can be written there.

    `option` is what named it. Folders above may be missing: they are made when it is written.
    """
    if path.is_dir():
        raise BenchError(f"{option} {path} is a folder; expected a file: add a name to it.")
    _check_above(option, path, path.parent)


def check_output_folder(option: str, path: Path) -> None:
    """The same for a folder, which may be there."""
    if not path.is_dir() and (path.exists() or path.is_symlink()):
        raise BenchError(f"{option} {path} is a file; expected a folder, it is made where missing.")
    _check_above(option, path, path)


def _check_above(option: str, path: Path, folder: Path) -> None:
    """BenchError where the folder, or the nearest above it that is there, takes no new file."""
    folder = folder.absolute()
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise BenchError(
            f"{option} {path}: {there} is a file, and nothing can lie below it; expected a path of "
            "folders: name another."
        )
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise BenchError(
            f"{option} {path}: nothing can be written to {there} ({error.strerror}); expected a "
            "folder that takes files: name another, or allow writing to it."
        ) from error


@contextmanager
def _of_path(path: Path, partial: Path) -> Iterator[None]:
    """An OSError that names `path`, which a user knows, in the place of its temporary name."""
    try:
        yield
    except OSError as error:
        if error.errno is None or not str(error.filename).startswith(str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _of_its_file(path: Path) -> Iterator[None]:
    """An OSError that names the file: what writing to an open one raises names none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`; at the end of the block it is renamed to `path`.

    Folders above are made. After an error in the block the temporary file is removed and `path` is
    as it was. The file's mode is 0666 less the umask, whatever the writer set; its content is on
    the disk before the rename. OSError where the folder cannot be written.
    """
    partial = temporary_name(path)
    try:
        with _of_path(path, partial), _of_its_file(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.touch(exist_ok=False)
            mode = partial.stat().st_mode & 0o777
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.chmod(mode)
            partial.replace(path)
    finally:
        with suppress(OSError):  # it is not there, or the disk is read-only
            partial.unlink()


@contextmanager
def folder_written_whole(
    path: Path, rename: Callable[[Path, Path], object] = Path.replace
) -> Iterator[Path]:
    """The same for a folder: yield an empty one beside `path`, renamed to it at the end.

    `path` may be an empty folder. `rename(temporary, path)` is for callers that know what to do
    when `path` has appeared meanwhile. OSError where the folder cannot be written or renamed.
    """
    building = temporary_name(path)
    try:
        with _of_path(path, building):
            path.parent.mkdir(parents=True, exist_ok=True)
            building.mkdir()
            yield building
            rename(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextmanager
def folder_replaced_whole(
    path: Path, option: str, what: str, names: Set[str], is_ours: Callable[[Path], bool]
) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends well; until then nothing of it
    changes.

    BenchError, with the `option` that named it, unless `path` is missing, empty, or an earlier
    `what` (`is_ours`) that holds files of these `names` alone; and where it cannot be renamed.
    """
    path = path.resolve()
    check_output_folder(option, path)
    there = {file.name for file in path.iterdir()} if path.exists() else set()
    if foreign := sorted(there - names if there and is_ours(path) else there):
        raise BenchError(
            f"{option} {path} holds {foreign[0]}; expected a new or empty folder, or an earlier "
            f"{what}, which is replaced as a whole: name another."
        )
    remove_abandoned(path)
    with folder_written_whole(path, functools.partial(_replace_folder, option)) as building:
        yield building


def _replace_folder(option: str, building: Path, path: Path) -> None:
    """Rename into place; an earlier folder is moved aside first, and back where that fails."""
    aside = temporary_name(path)
    try:
        if path.exists():
            path.rename(aside)
        building.rename(path)
    except OSError as error:
        if aside.exists():
            aside.rename(path)
        raise BenchError(
            f"{option} {path} cannot be replaced ({error.strerror}); expected a folder that this "
            "command may make, not a mounted one: name a new one below it."
        ) from error
    shutil.rmtree(aside, ignore_errors=True)


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

    Of all files and folders beside it where its name is "*". Those of living processes stay. Of
    another machine's processes nobody here knows, so theirs stay until nothing has been written to
    them for ABANDONED_SECONDS: who fills a folder for longer must touch it meanwhile.
    """
    name = path.name if path.name == "*" else glob.escape(path.name)
    for left in path.parent.glob(f".{name}.*-*.tmp"):
        pid, *rest = left.name.removesuffix(".tmp").rpartition(".")[2].split("-")
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
    """Write a file whole or not at all, in UTF-8 with lines that end in LF.

    A byte of a file's name that is no text becomes its escape, which JSON reads as the same.
    """
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return path


def map_files(function: Callable[[Path], _T], files: Sequence[Path]) -> Iterator[_T]:
    """Apply a function to files, in their order and in threads: reading them is mostly waiting."""
    blocks = [files[start : start + _BLOCK] for start in range(0, len(files), _BLOCK)]
    if len(blocks) < 2:
        yield from map(function, files)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for results in pool.map(lambda block: list(map(function, block)), blocks):
            yield from results


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def free_bytes(folder: Path) -> int:
    """Of the disk where a folder lies, or will lie."""
    return shutil.disk_usage(existing(folder)).free


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


def known_hash(path: str | Path) -> str:
    """`file_hash`, which a process takes of unchanged files once: large ones take seconds.

    One that has not settled is read again.
    """
    try:
        found = Path(path).stat()
    except OSError:
        return file_hash(path)
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    if time.time_ns() - changed < SETTLED_NS:
        return file_hash(path)
    return _hash_of(Path(path).absolute(), found.st_dev, found.st_ino, found.st_size, changed)


@functools.cache
def _hash_of(path: Path, *_version: int) -> str:
    return file_hash(path)


def content_hash(value: Any) -> str:
    """Hash any JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]
