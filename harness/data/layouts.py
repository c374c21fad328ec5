"""Which files a data set's description stands for: pairs of image and label, split by split."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PureWindowsPath

from harness.config import catalogue
from harness.config.data_set import DataSet, FileLayout
from harness.data import forms, walk
from harness.errors import DataError
from harness.files import read_text

Pair = tuple[Path, Path]


def layout_of(name: str) -> DataSet:
    """Look a data set up by name; DataError for an unknown one."""
    known = catalogue.data_set_names()
    if name not in known:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(known)}")
    return catalogue.data_set(name)


def list_pairs(data_set: DataSet, folder: Path, split: str) -> list[Pair]:
    """List (image, label) of a split or selection, sorted by name; the label need not exist.

    The first layout that has images counts; [] where none has, and for an unknown split.
    """
    if split in data_set.selections:
        selection = data_set.selections[split]
        pairs = [p for part in selection.splits for p in list_pairs(data_set, folder, part)]
        selected = [
            pair
            for pair in pairs
            if fnmatchcase(pair[0].stem, selection.images)
            and not (selection.without and fnmatchcase(pair[0].stem, selection.without))
        ]
        return sorted(selected, key=lambda pair: pair[0].name)
    if split not in data_set.splits:
        return []
    for layout in data_set.layouts:
        form = forms.Form(tuple(_places(layout)), layout.image, layout.label, layout.suffixes)
        pairs = forms.list_pairs((form,), folder, data_set.splits[split].path or split)
        if layout.shared and pairs:
            pairs = _of_split(data_set, layout, folder, split, pairs)
        if pairs:
            return pairs
    return []


def markers_of(data_set: DataSet) -> list[tuple[str, ...]]:
    """Folders by which a data set is known: as its file says, else those of its splits."""
    if data_set.markers or data_set.shared_markers:
        return list(data_set.markers)
    markers: dict[tuple[str, ...], None] = {}
    for layout, (name, split) in itertools.product(data_set.layouts, data_set.splits.items()):
        for images, *labels in _places(layout):
            for folders in itertools.product([images], labels) if labels else [(images,)]:
                texts = (folder.replace("{split}", split.path or name) for folder in folders)
                markers[tuple(text for text in texts if text != ".")] = None
    return [marker for marker in markers if marker]


def _places(layout: FileLayout) -> Iterator[tuple[str, ...]]:
    """Each place with each value of its named parts."""
    for place in layout.places:
        used = [part for part in layout.parts if f"{{{part}}}" in place.images]
        for values in itertools.product(*(layout.parts[part] for part in used)):
            texts = (place.images, *place.labels)
            for part, value in zip(used, values, strict=True):
                texts = tuple(text.replace(f"{{{part}}}", value) for text in texts)
            yield texts


def _of_split(
    data_set: DataSet, layout: FileLayout, folder: Path, split: str, pairs: list[Pair]
) -> list[Pair]:
    """Of pairs that all splits share, those of one: by its list, else by the splits' rules."""
    lists = {part: _listed(folder, layout, part) for part in data_set.splits}
    split_of = [_split_here(data_set, i, pair[0].stem, lists) for i, pair in enumerate(pairs)]
    _note_lists(folder, layout, [image for image, _ in pairs], split_of, lists)
    return [pair for pair, its_split in zip(pairs, split_of, strict=True) if its_split == split]


def split_by_rule(data_set: DataSet, number: int, frame: str) -> str:
    """The split of image number n, by the splits' ranges and shares; else the first without."""
    for name, split in data_set.splits.items():
        for first, last in split.ranges:
            if first <= frame <= last or (frame >= first and frame.startswith(last)):
                return name
    for name, split in data_set.splits.items():
        if split.every and number % split.every == 0:
            return name
    rest = (name for name, split in data_set.splits.items() if not split.ranges and not split.every)
    return next(rest, next(iter(data_set.splits)))


def _split_here(
    data_set: DataSet, number: int, frame: str, lists: dict[str, set[str] | None]
) -> str | None:
    """The split whose list names the image; else that by rule, if that one has no list here."""
    for split, frames in lists.items():
        if frames and walk.composed(frame) in frames:
            return split
    split = split_by_rule(data_set, number, frame)
    return split if lists[split] is None else None


def _note_lists(
    folder: Path,
    layout: FileLayout,
    images: list[Path],
    split_of: list[str | None],
    lists: dict[str, set[str] | None],
) -> None:
    """Note where the lists of names and the folder of images disagree."""
    listed: set[str] = set()
    there = {walk.composed(image.stem) for image in images}
    for split, named in lists.items():
        absent = (folder / frame for frame in sorted((named or set()) - there))
        walk.leave_out(f"named in {_list_file(layout, split)} but not there", *absent)
        listed |= named or set()
    files = [_list_file(layout, split) for split, named in lists.items() if named is not None]
    if files:
        unnamed = (
            image
            for image, split in zip(images, split_of, strict=True)
            if walk.composed(image.stem) not in listed and not split
        )
        walk.leave_out(f"not named in {' or '.join(files)}", *unnamed)


def _list_file(layout: FileLayout, split: str) -> str:
    return layout.lists.replace("{split}", split)


def _listed(folder: Path, layout: FileLayout, split: str) -> set[str] | None:
    """Read a split's images, one a line (a name or a path; more words are left out)."""
    file = folder / _list_file(layout, split)
    if not layout.lists or not file.is_file():
        return None
    try:
        lines = read_text(file).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} {error}.") from error
    entries = [line.split()[0] for line in lines if line.strip("\ufeff\t ")]
    # A Windows path takes / and \\ as separators.
    return {walk.composed(PureWindowsPath(entry).stem) for entry in entries}
