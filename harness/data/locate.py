"""Which folder below a data root is which set: by its name, by what lies in it, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from harness.config import catalogue
from harness.config.data_set import DataSet
from harness.data.layouts import layout_of, markers_of
from harness.data.walk import folders_in, is_image_name, matching, walk

#: Folders looked into below a set's own, where an archive was unpacked into a folder of its name.
NESTED = 2
#: Files whose names are looked at to tell sets apart that use the same folders.
_FRAMES = 20
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


def find_folder(name: str, root: Path) -> Path | None:
    """The folder of a set: below the root by its name, or nested in that, or the root itself.

    None where it is not there; DataError for an unknown name.
    """
    layout = layout_of(name)
    if layout.folder:
        return Path(layout.folder) if Path(layout.folder).is_dir() else None
    for folder in _candidates(layout, root):
        if _is(layout, folder):
            return folder
    return None


def _candidates(layout: DataSet, root: Path) -> Iterator[Path]:
    named = _named(layout, root)
    yield from named
    yield root
    for folder in [*named, *([root] if _is_name(layout, root) else [])]:
        level = [folder]
        for _ in range(NESTED):
            level = [below for above in level for below in folders_in(above)]
            yield from level


def _named(layout: DataSet, root: Path) -> list[Path]:
    """Folders in the root that bear one of the set's names, in the order of the names."""
    exact = [root / folder for folder in layout.folder_names if (root / folder).is_dir()]
    return exact + [f for f in folders_in(root) if _is_name(layout, f) and f not in exact]


def _shipped() -> list[str]:
    return catalogue.names("datasets")


def _is_name(layout: DataSet, folder: Path) -> bool:
    return _plain(folder.absolute().name) in {_plain(name) for name in layout.folder_names}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is(layout: DataSet, folder: Path) -> bool:
    """Whether a folder holds the set; where others use the same folders, names of files decide."""
    if any(_holds(folder, marker) for marker in markers_of(layout)):
        return not _is_another(layout, folder)  # IDD has Cityscapes' folders
    if not layout.shared_markers and not markers_of(layout):  # files in the folder itself
        return _is_name(layout, folder)
    shared = [marker for marker in layout.shared_markers if _holds(folder, marker)]
    if not shared:
        return False
    if _is_name(layout, folder):
        return True
    if _is_another(layout, folder):
        return False
    return any(_has_frames(layout, images) for images in folder.glob(shared[0][0]))


def _is_another(layout: DataSet, folder: Path) -> bool:
    """Whether a folder bears the name of a shipped set, and this is another shipped one."""
    if layout.name not in _shipped():
        return False
    named = any(_is_name(other, folder) for other in map(layout_of, _shipped()))
    return named and not _is_name(layout, folder)


def _holds(folder: Path, marker: tuple[str, ...]) -> bool:
    return all(any(place.is_dir() for place in matching(folder, part)) for part in marker)


def _has_frames(layout: DataSet, images: Path) -> bool:
    stems = (file.stem for file in walk(images) if is_image_name(file.name))
    return any(re.fullmatch(layout.frames, stem) for stem in islice(stems, _FRAMES))


def missing(name: str, root: Path) -> str:
    """What there is instead of a set, for an error's message: a clause, or nothing to say."""
    layout = layout_of(name)
    folders = _named(layout, root) or ([root] if _is_name(layout, root) else [])
    if folders:
        return _instead(layout, folders[0])
    others = [other for other in _shipped() if other != name and find_folder(other, root)]
    if others:
        return f"it holds {' and '.join(others)}"
    return "" if root.is_dir() else "there is no such folder"


def _instead(layout: DataSet, folder: Path) -> str:
    """Of the set's folder: which of the expected parts are there and which are not."""
    if layout.folder:
        return f"there is no {layout.folder}"
    markers = [*markers_of(layout), *layout.shared_markers]
    parts = [[_holds(folder, (part,)) for part in marker] for marker in markers]
    nearest = max(range(len(markers)), key=lambda i: sum(parts[i]))
    there = [f"{p}/" for p, held in zip(markers[nearest], parts[nearest], strict=True) if held]
    absent = [f"{p}/" for p, held in zip(markers[nearest], parts[nearest], strict=True) if not held]
    archives = [file.name for file in walk(folder, depth=0) if file.name.endswith(_ARCHIVES)]
    if there:
        text = f"{folder} holds {' and '.join(there)} but no {' and no '.join(absent)}"
    else:
        contents = ", ".join(f"{below.name}/" for below in folders_in(folder)[:5])
        text = f"{folder} holds {contents or 'no folder'} and none of the folders expected"
    return text + (f"; {archives[0]} is not unpacked" if archives else "")
