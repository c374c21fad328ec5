"""Pairs of image and label by a data set's form: folders and endings of names, as data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath
from typing import NamedTuple

from harness.data.walk import composed, folders_in, is_image_name, leave_out, matching, walk

#: How the name of a file ends that was derived from an image or a label beside it: conversions of
#: the reference's scripts, pictures of labels, and what `bench predict` writes.
DERIVED = re.compile(
    r"_(label_?train_?ids|label_?ids|train_?ids|instance_?(train_?)?ids|label_?colou?r|colou?r"
    r"|invIds|invGray|palette|overlay|pred(iction)?|mask)$",
    re.IGNORECASE,
)
#: How the name of a label, less its suffix, ends in a published set and of nothing else.
_LABEL = re.compile(
    r"_(gtFine|gtCoarse|gt)_(labelIds|labelTrainIds|instanceIds|labelColor|color|invIds|invGray)$"
    r"|_(labelIds|labelTrainIds|instanceIds|disparity)$",
    re.IGNORECASE,
)
#: Folders of labels, in lower case, by those of the images that stand beside them.
_LABEL_FOLDERS = {
    "images": ("labels", "masks", "annotations"),
    "rgb": ("gt",),
    "leftimg8bit": ("gtfine", "gtcoarse", "disparity"),
    "rgb_anon": ("gt",),
    "701_stillsraw_full": ("labeledapproved_full",),
    **{s: (f"{s}annot", f"{s}_labels") for s in ("train", "val", "test")},
}
_CITYSCAPES_IMAGE = "_leftImg8bit"
#: Images may be stored with loss, labels never.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Form:
    """One way to lay out a set below its folder, as patterns in which {split} is the split's name.

    Each of `places` is a pattern of folders with images and those of the folders with their labels;
    all that are there are taken. Folders below them are searched to their depth. An image's name,
    less the suffix, is `image`; what its {name} stands for, put into the first of `labels` that is
    there, makes its label's, which lies in the folder that corresponds, or is the only one of that
    name and no other image's.
    """

    places: tuple[tuple[str, ...], ...]
    image: str = "{name}"
    labels: tuple[str, ...] = ("{name}.png",)
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES


def list_pairs(forms: Sequence[Form], folder: Path, split: str) -> list[tuple[Path, Path]]:
    """List (image, label) of a split by the first form that has images; the label need not exist.

    Sorted by path within a place. A label that lies elsewhere than its image's should is taken
    where no other image has it.
    """
    for form in forms:
        matches: list[_Match] = []
        for place in form.places:
            images, *labels = (pattern.replace("{split}", split) for pattern in place)
            for image_folder in matching(folder, images):
                label_folders = _label_folders(folder, labels, image_folder)
                matches += _matches(form, image_folder, label_folders)
        if matches:
            images_of = {(match.label, unsuffixed(match.image)) for match in matches}
            claims = Counter(label for label, _ in images_of)
            return [
                (m.image, m.label if m.corresponds or claims[m.label] == 1 else m.expected)
                for m in matches
            ]
    return []


def unsuffixed(image: Path) -> Path:
    """A path without its suffix: the same for an image's copies in several formats."""
    return image.parent / image.stem


def _label_folders(folder: Path, patterns: Sequence[str], images: Path) -> list[list[Path]]:
    """Folders that may hold the labels of a folder's images, by pattern, the nearest first.

    One at least; it need not exist.
    """

    def nearness(labels: Path) -> int:
        letters = zip(str(labels), str(images), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], letters))

    there = [sorted(matching(folder, p), key=nearness, reverse=True) for p in patterns]
    if any(there):
        return [folders for folders in there if folders]
    return [[folder / pattern] for pattern in patterns if "*" not in pattern] or [[images]]


def images_in(
    folder: Path,
    name: str = "{name}",
    depth: int | None = None,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
) -> list[Path]:
    """Images below a folder of such names, less the suffix; what else is there is noted."""
    files = [file for file in walk(folder, depth) if is_image_name(file.name)]
    named = [file for file in files if fills(name, file.stem)]
    others = (file for file in files if not fills(name, file.stem))
    leave_out(f"not named {name.replace('{name}', '*')}.png", *others)
    usable = [file for file in named if file.suffix.lower() in suffixes]
    kinds = "neither PNG nor JPEG" if suffixes == IMAGE_SUFFIXES else f"not {', '.join(suffixes)}"
    leave_out(kinds, *(file for file in named if file.suffix.lower() not in suffixes))
    stems = {(file.parent, file.stem) for file in usable}
    derived = {file for file in usable if is_derived(file, stems)}
    leave_out("derived from others beside them", *sorted(derived))
    return [file for file in usable if file not in derived]


def is_derived(file: Path, stems: set[tuple[Path, str]]) -> bool:
    """Whether a name says that its file was derived from one of (folder, name less suffix)."""
    stem = DERIVED.sub("", file.stem)
    return stem != file.stem and (file.parent, stem) in stems


def fills(pattern: str, stem: str) -> str | None:
    """What {name} stands for in a name, less the suffix, of that pattern; None for others."""
    before, _, after = pattern.partition("{name}")
    if len(stem) <= len(before) + len(after) and (before or after):
        return None
    if not (stem.startswith(before) and stem.endswith(after)):
        return None
    return stem[len(before) : len(stem) - len(after)]


def plain_stem(image: Path) -> str:
    """An image's name without its suffix and without Cityscapes' ending."""
    return image.stem.removesuffix(_CITYSCAPES_IMAGE)


def labels_among(files: Sequence[Path], root: Path) -> set[Path]:
    """The files below `root` that are a data set's labels, by their names or by their folders."""
    folders = {above for file in files for above in file.parents if above.is_relative_to(root)}
    labels = {folder for folder in folders - {root} if _holds_labels(folder)}
    return {
        file for file in files if _LABEL.search(file.stem) or not labels.isdisjoint(file.parents)
    }


def _holds_labels(folder: Path) -> bool:
    """Whether a folder has the name of a set's labels, and their images stand beside it."""
    images = {i for i, labels in _LABEL_FOLDERS.items() if folder.name.lower() in labels}
    return bool(images) and any(f.name.lower() in images for f in folders_in(folder.parent))


class _Match(NamedTuple):
    """An image and a label that may be its own."""

    image: Path
    label: Path
    corresponds: bool  # it lies where this image's should
    expected: Path


def _matches(form: Form, folder: Path, label_folders: Sequence[Sequence[Path]]) -> list[_Match]:
    labels = LabelFiles(label_folders)
    matches = []
    within = {below for folders in label_folders for below in folders if folder in below.parents}
    for image in images_in(folder, form.image, suffixes=form.suffixes):
        if not within.isdisjoint(image.parents):
            continue  # a label, in a folder within that of the images
        below = image.relative_to(folder).parent / str(fills(form.image, image.stem))
        matches.append(_Match(image, *labels.of(below, form.labels)))
    return matches


class LabelFiles:
    """The files of folders with labels, found by their names in any case and Unicode form."""

    def __init__(self, folders: Sequence[Sequence[Path]]) -> None:
        self.first = folders[0][0]
        self._by_path: dict[str, tuple[Path, bool]] = {}
        self._by_name: dict[str, list[Path]] = {}
        for alike in folders:
            for folder in alike:
                for file in walk(folder):
                    below = _key(file.relative_to(folder).as_posix())
                    self._by_path.setdefault(below, (file, folder == alike[0]))
                    self._by_name.setdefault(_key(file.name), []).append(file)

    def of(self, below: PurePath, patterns: Sequence[str]) -> tuple[Path, bool, Path]:
        """The label of the image `below` the folder of images, whether it lies where it should,
        and where that is. The label is that place where it is not there.
        """
        names = [pattern.replace("{name}", below.name) for pattern in patterns]
        expected = self.first / below.with_name(names[0])
        for name in names:
            if found := self._by_path.get(_key(below.with_name(name).as_posix())):
                return *found, expected
        for name in names:
            named = self._by_name.get(_key(name), [])
            if len(named) == 1:
                return named[0], False, expected
        return expected, True, expected


def _key(name: str) -> str:
    """Equal for names that differ in case and in Unicode form alone."""
    return composed(name).lower()
