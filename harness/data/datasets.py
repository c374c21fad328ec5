"""Data sets exactly as they lie on disk, as benchmarks/datasets/*.toml describe them.

Label ids are mapped while reading. Nothing is written beside the data: folders may be read-only,
links, or hold a part of the set only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from harness.config.class_set import ClassSet
from harness.config.data_set import DataSet
from harness.data import png
from harness.data.encodings import Labels, labels_of
from harness.data.fingerprint import FilesRead, content_fingerprint
from harness.data.images import read_header, read_label_header, read_stored
from harness.data.layouts import layout_of, list_pairs
from harness.data.locate import find_folder, missing
from harness.data.transforms import PixelArray, resize_image, resize_label
from harness.data.walk import LeftOut, noting_left_out
from harness.errors import DataError
from harness.files import SETTLED_NS

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    image: Path
    label: Path  # need not exist where nobody reads it, as in an unlabelled target


@dataclass(frozen=True)
class Dataset:
    """The image and label files of one split. Reading maps ids to train ids, 255 = ignored."""

    name: str
    split: str
    root: Path
    samples: list[Sample]
    labels: Labels
    labelled: bool = True  # published with labels
    _fingerprints: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def classes(self) -> ClassSet:
        """What its train ids stand for."""
        return self.labels.classes

    def __len__(self) -> int:
        return len(self.samples)

    def read_image(self, index: int, size: tuple[int, int] | None = None) -> PixelArray:
        """Read an image as RGB (H, W, 3), resized into `size` = (width, height), aspect kept."""
        return resize_image(read_stored(self.samples[index].image), size)

    def read_label(
        self,
        index: int,
        size: tuple[int, int] | None = None,
        unknown: npt.NDArray[np.int64] | None = None,
    ) -> PixelArray:
        """Read a label as train ids (H, W), resized like its image by nearest neighbour.

        `unknown` (256,) counts, of each value that is no id of the set's, the labels that have it.
        """
        path = self.samples[index].label
        try:
            encoding = self.labels.encoding_of(path)
            ids = encoding.read(path)
        except (OSError, SyntaxError) as error:  # PIL raises SyntaxError for a broken PNG chunk
            raise DataError(
                f"{path}: cannot be read ({error}); `bench data verify` says more"
            ) from error
        ids = resize_label(ids, size)
        if unknown is not None:
            unknown[encoding.unknown(ids)] += 1
        return cv2.LUT(ids, encoding.table)

    @property
    def has_labels(self) -> bool:
        """False for a split that was published without labels, unless some lie there after all."""
        if not self.labels.encodings:
            return False
        return self.labelled or any(sample.label.exists() for sample in self.samples)

    def fingerprint(self, progress: FilesRead | None = None, *, reread: bool = False) -> str:
        """Hash names, labels and some images: 16 hex digits, the same wherever the files lie.

        Computed once for this object; see `content_fingerprint` for what it covers, what `progress`
        is told, and its DataError. `reread` computes it again without the cached hashes.
        """
        if reread or not self._fingerprints:
            self._fingerprints[:] = [
                content_fingerprint(
                    self.name,
                    self.root,
                    self.samples,
                    self.labels.tables,
                    progress=progress,
                    reread=reread,
                )
            ]
        return self._fingerprints[0]


def has_dataset(name: str, root: Path) -> bool:
    """Say whether the folders of a data set are there, without looking into them."""
    return find_folder(name, root) is not None


def list_samples(name: str, root: Path, split: str) -> tuple[Path, list[Sample], LeftOut]:
    """List a split's files as they lie there: the data set's folder, its samples, what is left out.

    DataError when the folder, the split or its images are missing.
    """
    layout = layout_of(name)
    known = (*layout.splits, *layout.selections)
    if split not in known:
        raise DataError(
            f"{name} has no split {split!r}, only {' and '.join(known)}; "
            "choose a scenario that uses it so"
        )
    folder = find_folder(name, root)
    if folder is None:
        instead = missing(name, root)
        raise DataError(
            f"found no {name} in {root}{instead and f': {instead}'}; expected "
            f"{place(layout, root)} with {layout.what_it_holds}: unpack or link it there, or point "
            "--data-root elsewhere"
        )
    with noting_left_out() as left_out:
        samples = [Sample(*pair) for pair in list_pairs(layout, folder, split)]
    if not samples:
        others = (
            ", or score others: `bench run` and `bench eval` take --set eval_split=val, every verb "
            'a scenario file with eval_split = "val"'
            if split in layout.splits and layout.splits[split].optional
            else ""
        )
        raise DataError(
            f"found no image of the {split} split in {folder}"
            f"{f' (left out: {left_out})' if left_out else ''}; expected {layout.what_it_holds}: "
            f"unpack the archive again, or link the full folder{others}"
        )
    return folder, samples, left_out


def place(layout: DataSet, root: Path) -> Path:
    """Where the folder of a data set should be."""
    return Path(layout.folder) if layout.folder else root / layout.folder_names[0]


def splits_there(name: str, root: Path) -> list[str]:
    """The splits of a data set, those left out that need not be there and are not."""
    layout, folder = layout_of(name), find_folder(name, root)
    return [
        split
        for split, about in layout.splits.items()
        if not about.optional or (folder and list_pairs(layout, folder, split))
    ]


def open_dataset(name: str, root: Path, split: str, labels: Labels | None = None) -> Dataset:
    """Open one split of a data set below a data root (gta5/, synthia/, cityscapes/ ...).

    `labels` are read so, else as the data set's own classes. One line says what is left out.
    DataError, with the remedy, when it is not there or empty.
    Whether the files are sound is verify.quick_check's to say.
    """
    folder, samples, left_out = list_samples(name, Path(root), split)
    layout = layout_of(name)
    if layout.differing_sizes:
        samples = _without_mismatches(samples)
    if left_out:
        log.warning("%s %s leaves out %s", name, split, left_out)
    return Dataset(
        name, split, folder, samples, labels or labels_of(layout), layout.is_labelled(split)
    )


#: What this process has opened: when its folders had been modified then, and the split.
_OPENED: dict[tuple[str, Path, str, bytes], tuple[dict[Path, int], Dataset]] = {}


def open_once(
    name: str,
    root: Path,
    split: str,
    labels: Labels | None = None,
    prepare: Callable[[], object] | None = None,
) -> Dataset:
    """The same split as the last time in this process, while no file came, went or was renamed.

    Opening GTA5 reads 49,932 headers, hashing it every label. A file that is written over in place
    is noticed by the next process. `prepare` is called before the split is opened, not where it is
    open already. Errors as of `open_dataset`.
    """
    labels = labels or labels_of(layout_of(name))
    read_as = labels.tables + repr(labels.classes.names).encode()
    key = (name, Path(root).absolute(), split, read_as)
    if key in _OPENED:
        listings, dataset = _OPENED[key]
        if dataset.root == find_folder(name, Path(root)) and listings == _modified(listings):
            return dataset
    started = time.time_ns()
    if prepare:
        prepare()
    dataset = open_dataset(name, root, split, labels)
    listings = _modified(_listings(dataset))
    if max(listings.values()) <= started - SETTLED_NS:  # or a later change might not show
        _OPENED[key] = listings, dataset
    return dataset


def _listings(dataset: Dataset) -> set[Path]:
    """What says which files a split has: folders up to the data set's own, and lists there."""
    folders = {
        folder
        for parent in {file.parent for sample in dataset.samples for file in sample}
        for folder in (parent, *parent.parents)
        if folder.is_relative_to(dataset.root)
    }
    return folders | set(dataset.root.glob("*.txt"))


def _modified(paths: Iterable[Path]) -> dict[Path, int]:
    """When each was last modified, in nanoseconds; -1 for one that is not there."""
    modified = {}
    for path in paths:
        try:
            modified[path] = path.stat().st_mtime_ns
        except OSError:
            modified[path] = -1
    return modified


def _without_mismatches(samples: list[Sample]) -> list[Sample]:
    """Leave out pairs whose image and label differ in size: GTA5 was published with a few."""
    pairs = [sample for sample in samples if sample.label.exists()]
    images = png.read_headers([sample.image for sample in pairs], read_header)
    labels = png.read_headers([sample.label for sample in pairs], read_label_header)
    differ = {
        sample
        for sample, image, label in zip(pairs, images, labels, strict=True)
        if image and label and image[:2] != label[:2]
    }
    for sample in sorted(differ):
        log.warning("skipped %s: its label has another size", sample.image)
    return [sample for sample in samples if sample not in differ]
