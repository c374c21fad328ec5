"""The one walk through folders: which files are there, and which are left out, and why."""

from __future__ import annotations

import os
import unicodedata
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

#: Suffixes of image files, in lower case.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: What systems put beside files, in lower case; names that begin with a dot are hidden as well.
_HIDDEN = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
#: Names that a note gives of a reason's files.
_EXAMPLES = 2


class LeftOut:
    """Files that a walk came across and did not take, by reason."""

    def __init__(self) -> None:
        self.files: dict[str, dict[Path, None]] = {}

    def add(self, reason: str, *paths: Path) -> None:
        """Note files; a file that is noted twice for one reason counts once."""
        self.files.setdefault(reason, {}).update(dict.fromkeys(paths))

    def __bool__(self) -> bool:
        return bool(self.files)

    def __str__(self) -> str:
        """One clause a reason: how many, why, and the first names."""
        clauses = []
        for reason, paths in self.files.items():
            names = ", ".join(path.name for path in list(paths)[:_EXAMPLES])
            more = ", ..." if len(paths) > _EXAMPLES else ""
            clauses.append(f"{len(paths)} {reason} ({names}{more})")
        return "; ".join(clauses)


_NOTED: ContextVar[LeftOut | None] = ContextVar("files that a walk left out", default=None)


@contextmanager
def noting_left_out() -> Iterator[LeftOut]:
    """Within the block, walks note what they leave out in the object that this yields."""
    left_out = LeftOut()
    token = _NOTED.set(left_out)
    try:
        yield left_out
    finally:
        _NOTED.reset(token)


def leave_out(reason: str, *paths: Path) -> None:
    """Note files that are not taken; nothing happens where nobody asked."""
    if paths and (left_out := _NOTED.get()) is not None:
        left_out.add(reason, *paths)


def is_hidden(name: str) -> bool:
    """Whether a name belongs to the system rather than to the user."""
    return name.startswith(".") or name.lower() in _HIDDEN


def composed(name: str) -> str:
    """A name in Unicode's composed form: macOS stores an accent apart from its letter."""
    return unicodedata.normalize("NFC", name)


def is_image_name(name: str) -> bool:
    """Whether a name ends as an image's, in any case."""
    return name.lower().endswith(SUFFIXES)


def walk(folder: Path, depth: int | None = None) -> list[Path]:
    """All files below a folder, sorted; `depth` 0 lists those directly in it.

    Linked folders are entered, each folder once: a loop of links ends. Hidden files and folders
    are left out. What is neither a file nor a folder (a broken link, a pipe) is listed: whoever
    reads it must look first. An empty list for a folder that is not there.
    """
    files: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting, linked = deque([(folder, 0)]), deque[tuple[Path, int]]()
    while waiting or linked:
        # Linked folders last, so that a folder is listed under its own name where it has one.
        place, level = (waiting or linked).popleft()
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in entered:
                leave_out("links to folders that are read already", place)
                continue
            with os.scandir(place) as entries:
                contents = [
                    (place / entry.name, _is_folder(entry))
                    for entry in sorted(entries, key=lambda entry: entry.name)
                ]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            leave_out("folders that cannot be read", place)
            continue
        entered.add((status.st_dev, status.st_ino))
        for path, is_folder in contents:
            if is_hidden(path.name):
                if is_folder or is_image_name(path.name):
                    leave_out("hidden", path)
            elif not is_folder:
                files.append(path)
            elif depth is None or level < depth:
                (linked if path.is_symlink() else waiting).append((path, level + 1))
    return sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def matching(folder: Path, pattern: str) -> list[Path]:
    """What a pattern stands for below a folder, sorted; `.` is the folder itself."""
    return [folder] if pattern == "." else sorted(folder.glob(pattern))


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted, hidden ones left out; [] where it is not read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                folder / e.name for e in entries if not is_hidden(e.name) and _is_folder(e)
            )
    except OSError:
        return []
