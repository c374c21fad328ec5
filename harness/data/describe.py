"""`bench data new`: looks at a user's files and writes the description to start from."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import numpy as np

from harness.data import forms, images, png
from harness.data.encodings import ONE_PALETTE, READ_AS_COLOURS, differing_palettes, read_ids
from harness.data.walk import folders_in
from harness.errors import DataError
from harness.files import write_text

#: Labels whose pixels are looked at, spread over the set.
LOOKED_AT = 200
#: More values than a label has classes: a photograph, or shades between colours.
MOST_VALUES = 255
#: What marks a line that only the user can complete.
TO_DO = "# TO DO:"
#: Folders of each split, in lower case.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class UserFiles(NamedTuple):
    """What a set's files say of themselves."""

    images: list[Path]
    split_folders: dict[str, str]  # by split
    in_no_split: list[str]  # folders and images beside those of splits
    label: str | None  # pattern of a label's name; None: no labels
    encoding: list[str]  # lines of the table


def describe(name: str, image_folder: Path, label_folder: Path | None, out: Path) -> str:
    """Write OUT/NAME.toml of the images and labels in two folders -> what was found, in a line.

    DataError where there is nothing to read, or where the file is there already.
    """
    file = out / f"{name}.toml"
    if file.exists():
        raise DataError(f"{file} is there already; expected a new name, or remove it first.")
    for folder in filter(None, (image_folder, label_folder)):
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; expected one of images or of labels.")
    if label_folder and label_folder.resolve() == image_folder.resolve():
        raise DataError(
            f"--labels {label_folder} is the folder of the images; expected labels in one of their "
            "own: move them to another."
        )
    user_files = _look(image_folder, label_folder)
    write_text(file, _text(name, image_folder, label_folder, out, user_files))
    labelled = f"labels named {user_files.label}" if user_files.label else "no labels"
    marked = sum(TO_DO in line for line in user_files.encoding)
    to_do = (
        f"; {marked} lines marked {TO_DO.strip('# :')!r} are yours to complete" if marked else ""
    )
    left_out = ", ".join(user_files.in_no_split[:5]) + ", ..." * (len(user_files.in_no_split) > 5)
    beside = f"; in no split and left out: {left_out}" if left_out else ""
    next_step = f"; next: bench data verify {quote(str(file))}"
    return f"{file}: {len(user_files.images)} images, {labelled}{beside}{to_do}{next_step}"


def _look(image_folder: Path, label_folder: Path | None) -> UserFiles:
    files = forms.images_in(image_folder) or forms.images_in(
        image_folder, suffixes=images.TIFF_SUFFIXES
    )
    if label_folder and label_folder.is_relative_to(image_folder):
        files = [file for file in files if not file.is_relative_to(label_folder)]
    if not files:
        raise DataError(f"{image_folder} holds no image; expected PNG, JPEG or TIFF files in it.")
    splits, in_no_split = _splits(image_folder, files)
    if label_folder is None:
        return UserFiles(files, splits, in_no_split, None, [])
    labels = forms.images_in(label_folder, suffixes=(".png",)) or forms.images_in(
        label_folder, suffixes=images.TIFF_SUFFIXES
    )
    pattern = _label_pattern(files, labels)
    sampled = labels[:: max(len(labels) // LOOKED_AT, 1)][:LOOKED_AT]
    return UserFiles(files, splits, in_no_split, pattern, _encoding(sampled))


def _splits(folder: Path, files: Sequence[Path]) -> tuple[dict[str, str], list[str]]:
    """The folder of each split, and what holds images beside them; no splits, nothing beside."""
    beside = dict.fromkeys(file.relative_to(folder).parts[0] for file in files)
    splits: dict[str, str] = {}
    for split, spellings in SPLIT_FOLDERS.items():
        if named := [f.name for f in folders_in(folder) if f.name.lower() in spellings]:
            splits[split] = split if split in named else named[0]
            beside.pop(splits[split], None)
    return splits, list(beside) if splits else []


def _label_pattern(files: Sequence[Path], labels: Sequence[Path]) -> str:
    """How a label is named after its image: the pattern that fits most of the first images."""
    stems = [label.stem for label in labels]
    patterns: Counter[str] = Counter()
    for image in files[:LOOKED_AT]:
        patterns.update(
            {stem.replace(image.stem, "{name}", 1) for stem in stems if image.stem in stem}
        )
    if not patterns:
        raise DataError(
            f"no label is named after an image such as {files[0].name}; expected PNG files whose "
            "names contain their image's: rename them, or give the folder of labels with --labels."
        )
    # Of as many, the shortest: img_1 is in img_10 as well.
    best = min(patterns, key=lambda pattern: (-patterns[pattern], len(pattern)))
    return best + labels[0].suffix


def _encoding(labels: Sequence[Path]) -> list[str]:
    header = images.read_label_header(labels[0])
    if header is None:
        raise DataError(f"{labels[0]}: expected a PNG or TIFF file of class ids or class colours.")
    if header.bits == 16:
        stored = "grey16" if header.colour == png.GREY else "red16"
        return ["[[encodings]]", f'stored = "{stored}"', *_ids(_values(labels, 1 << 8))]
    if header.colour in (png.RGB, png.RGBA):
        colours = sorted(map(tuple, np.unique(np.concatenate(_colours(labels)), axis=0).tolist()))
        if len(colours) > MOST_VALUES:
            raise DataError(
                f"{labels[0].parent}: {len(colours)} colours in {len(labels)} labels; expected one "
                f"a class, {MOST_VALUES} at most: were they resized, or stored with loss?"
            )
        # Named alike in every set: classes of one name are taken as the same.
        lines = [
            f'"colour {bytes(colour).hex()}" = [{list(colour)}]  {TO_DO} its name'
            for colour in colours
        ]
        return ["[[encodings]]", 'stored = "colours"', "", "[encodings.colours]", *lines]
    if differ := differing_palettes(labels):
        raise DataError(f"{labels[0].parent}: {differ}; expected {ONE_PALETTE}: {READ_AS_COLOURS}.")
    return ["[[encodings]]", 'stored = "indexed"', *_ids(_values(labels, 1 << 8))]


def _colours(labels: Sequence[Path]) -> list[np.ndarray]:
    colours = []
    for label in labels:
        rgb = np.asarray(images.load(label).convert("RGB")).reshape(-1, 3)
        packed = rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        values = np.unique(packed)
        colours.append(np.stack([values >> 16, (values >> 8) & 255, values & 255], axis=1))
    return colours


def _values(labels: Sequence[Path], bound: int) -> list[int]:
    seen = np.zeros(bound, bool)
    for label in labels:
        seen[np.unique(read_ids(label))] = True
    return [int(value) for value in np.flatnonzero(seen)]


def _ids(values: Sequence[int]) -> list[str]:
    """The table of ids; 255 is ignored unless the labels are a mask of 0 and 255."""
    binary = list(values) in ([0, 1], [0, 255])
    classes = [value for value in values if value != 255 or binary]
    lines = [] if binary or 255 not in values else ["ignored = [255]"]
    table = [f'{value} = "class {value}"  {TO_DO} its name' for value in classes]
    if binary:
        table = [f'{values[0]} = "background"', f'{values[1]} = "foreground"']
    return [*lines, "", "[encodings.ids]", *table]


def _text(
    name: str, image_folder: Path, label_folder: Path | None, out: Path, user_files: UserFiles
) -> str:
    folders = [folder.resolve() for folder in (image_folder, label_folder) if folder]
    top = Path(os.path.commonpath(folders))
    if label_folder is None:
        top = folders[0].parent
    below = [glob.escape(folder.relative_to(top).as_posix()) for folder in folders]
    split = "/{split}" if user_files.split_folders else ""
    patterns = [f"{folder}{split}" if folder != "." else (split[1:] or ".") for folder in below]
    place = f"images = {_quoted(patterns[0])}"
    if label_folder:
        place += f", labels = {json.dumps(patterns[1:], ensure_ascii=False)}"
    lines = [
        f"title = {_quoted(name)}",
        "# Where the files lie, seen from this file.",
        f"folder = {_quoted(Path(os.path.relpath(top, out.resolve())).as_posix())}",
        "",
        "[[layouts]]",
        f"places = [{{ {place} }}]",
    ]
    if user_files.label:
        lines.append(f"label = [{_quoted(user_files.label)}]")
    if user_files.images[0].suffix.lower() in images.TIFF_SUFFIXES:
        lines.append(f"suffixes = {json.dumps(images.TIFF_SUFFIXES)}")
    for part, folder in user_files.split_folders.items():
        lines += ["", f"[splits.{part}]"]
        lines += [f"path = {_quoted(folder)}"] if folder != part else []
    if not user_files.split_folders:
        lines += ["", "[splits.train]"]
        if user_files.label:
            lines += [
                "",
                "# No folder says which images to score: every fifth.",
                "[splits.val]",
                "every = 5",
            ]
    return "\n".join([*lines, "", *user_files.encoding, ""])


def _quoted(text: str) -> str:
    """As TOML has it: JSON's escapes of two halves are none of its characters."""
    return json.dumps(text, ensure_ascii=False)
