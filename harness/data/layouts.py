"""Which files a data set's description stands for: pairs of image and label, split by split."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

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
    images = [image.relative_to(folder) for image, _ in pairs]
    listed, in_vain = _splits_by_list(lists, images)
    split_of = [
        listed.get(image) or _split_unlisted(data_set, i, image.stem, lists)
        for i, image in enumerate(images)
    ]
    for part, entries in in_vain.items():
        absent = (folder.joinpath(*entry) for entry in sorted(entries))
        walk.leave_out(f"named in {_list_file(layout, part)} but not there", *absent)
    if files := [_list_file(layout, part) for part in lists if lists[part] is not None]:
        unnamed = (p[0] for p, its_split in zip(pairs, split_of, strict=True) if not its_split)
        walk.leave_out(f"not named in {' or '.join(files)}", *unnamed)
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


def _split_unlisted(
    data_set: DataSet, number: int, frame: str, lists: Mapping[str, list[str] | None]
) -> str | None:
    """The split by rule of an image that no list names, if that split has no list here."""
    split = split_by_rule(data_set, number, frame)
    return split if lists[split] is None else None


#: A path's parts, less the suffix of an image.
_Parts = tuple[str, ...]


def _splits_by_list(
    lists: Mapping[str, list[str] | None], images: Sequence[PurePath]
) -> tuple[dict[PurePath, str], dict[str, list[_Parts]]]:
    """The split of each image that a list names, and of each list the entries that name none.

    A name stands for all images of it, a path for those whose last folders are its own. As lists
    are handed on with the folders of another machine, it stands for the only image of its name too,
    unless another entry has more of that image's folders.
    """
    images_of: dict[_Parts, list[PurePath]] = {}
    for image in images:
        parts = _parts(image.as_posix())
        for length in range(1, len(parts) + 1):
            images_of.setdefault(parts[-length:], []).append(image)

    def named_by(entry: _Parts) -> tuple[int, list[PurePath]]:
        """How many last parts of an entry and of images are alike, and those images."""
        for length in range(len(entry), 0, -1):
            if named := images_of.get(entry[-length:]):
                clear = length > 1 or 1 in (len(entry), len(named))
                return (length, named) if clear else (0, [])
        return 0, []

    splits: dict[PurePath, tuple[int, str]] = {}
    entries: list[tuple[str, _Parts, int, list[PurePath]]] = []
    for split, lines in lists.items():
        for line in lines or ():
            # A name may hold spaces; else further words are not the image's.
            readings = (_parts(line.strip()), _parts(line.split()[0]))
            entry = max(readings, key=lambda reading: named_by(reading)[0])
            alike, named = named_by(entry)
            entries.append((split, readings[-1] if not named else entry, alike, named))
            for image in named:
                if alike > splits.get(image, (0, ""))[0]:
                    splits[image] = alike, split
    in_vain: dict[str, list[_Parts]] = {}
    for split, entry, alike, named in entries:
        if all(alike < splits[image][0] for image in named):
            in_vain.setdefault(split, []).append(entry)
    return {image: split for image, (_, split) in splits.items()}, in_vain


def _parts(path: str) -> _Parts:
    """Of a path with / or \\ as separators."""
    parts = [part for part in re.split(r"[/\\]", walk.composed(path)) if part not in ("", ".")]
    *folders, name = parts or [""]
    return *folders, name[: name.rindex(".")] if walk.is_image_name(name) else name


def _list_file(layout: FileLayout, split: str) -> str:
    return layout.lists.replace("{split}", split)


def _listed(folder: Path, layout: FileLayout, split: str) -> list[str] | None:
    """Read the lines of a split's list of images that are not empty; None where it has none."""
    file = folder / _list_file(layout, split)
    if not layout.lists or not file.is_file():
        return None
    try:
        lines = read_text(file).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} {error}.") from error
    return [line.strip("\ufeff") for line in lines if line.strip("\ufeff\t ")]
