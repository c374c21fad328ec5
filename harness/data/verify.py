"""Looks for what is wrong with a data set: one line a problem, each with its remedy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.config.data_set import DataSet
from harness.data import images, png
from harness.data.classes import IGNORE
from harness.data.datasets import (
    Dataset,
    Sample,
    place,
    splits_there,
)
from harness.data.encodings import (
    ONE_PALETTE,
    READ_AS_COLOURS,
    Encoding,
    Labels,
    differing_palettes,
    labels_of,
    read_grey,
)
from harness.data.forms import is_derived, unsuffixed
from harness.data.layouts import layout_of, list_pairs
from harness.data.locate import find_folder, missing
from harness.data.walk import noting_left_out, walk
from harness.errors import DataError

#: quick_check decodes every file of a set of at most so many pixels: about two seconds.
SMALL_SET = 60_000_000
#: Equal problems of more files than this in one folder become one line.
SAME_PROBLEM = 3
COPY_AGAIN = "copy or unpack it again"


class Problem(NamedTuple):
    file: Path
    found: str
    expected: str
    remedy: str
    fatal: bool = True  # False: training works around it by itself

    def __str__(self) -> str:
        return f"{self.file}: {self.found}; expected {self.expected}: {self.remedy}"


def verify(
    name: str,
    root: Path,
    split: str | None = None,
    limit: int | None = None,
    deep: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """List what is wrong with a data set, or one split; [] when all is well.

    `limit` looks at the first files of a split only; `deep` decodes them and checks label ids.
    `progress` is told how many pairs of a split are decoded, and how many there are.
    """
    layout, folder = layout_of(name), find_folder(name, Path(root))
    if folder is None:
        where = place(layout, Path(root))
        elsewhere = (
            "correct `folder` in its file" if layout.folder else "point --data-root elsewhere"
        )
        remedy = f"unpack or link it there, or {elsewhere}"
        instead = missing(name, Path(root))
        found = f"no such data set{instead and f' ({instead})'}"
        return [Problem(where, found, layout.what_it_holds, remedy)]
    problems: list[Problem] = []
    images_of: dict[Path, dict[Path, None]] = {}
    indexed: list[Path] = []
    for part in (split,) if split else splits_there(name, Path(root)):
        with noting_left_out() as left_out:
            samples = [Sample(*pair) for pair in list_pairs(layout, folder, part)]
        if part not in layout.splits or not samples:
            others = f" (left out: {left_out})" if left_out else ""
            problems.append(
                Problem(
                    folder,
                    f"no image of the {part} split{others}",
                    layout.what_it_holds,
                    "unpack the archive again, or link the full folder",
                )
            )
            continue
        dataset = Dataset(name, part, folder, samples, labels_of(layout), layout.is_labelled(part))
        labels = dataset.has_labels
        if limit is None and labels:
            problems += _orphans(layout, samples) if layout.label_files else []
            for sample in samples:
                images_of.setdefault(sample.label, {})[unsuffixed(sample.image)] = None
        samples = samples[:limit]
        problems += _check_headers(dataset, samples, labels)
        labels = labels and any(sample.label.exists() for sample in samples)
        if deep:
            broken = {problem.file for problem in problems}
            sound = [sample for sample in samples if broken.isdisjoint(sample)]
            problems += _check_contents(dataset, sound, labels, progress)
            if layout.folder and labels:  # the user's own
                of = dataset.labels.encoding_of
                indexed += [s.label for s in sound if of(s.label).read is read_grey]
    if differ := differing_palettes(indexed):
        problems.append(Problem(indexed[0].parent, differ, ONE_PALETTE, READ_AS_COLOURS))
    return _gather([*problems, *_shared(images_of)])


def _shared(images_of: Mapping[Path, Iterable[Path]]) -> Iterator[Problem]:
    """Labels that several images have."""
    for label, of in images_of.items():
        stems = list(of)
        if len(stems) > 1 and label.exists():
            found = f"the label of {len(stems)} images, {stems[0]} and {stems[1]} among them"
            remedy = "nothing to do where it is right for each; else sort labels into folders"
            yield Problem(label, found, "one image", remedy, fatal=False)


def _orphans(layout: DataSet, samples: Sequence[Sample]) -> list[Problem]:
    """Labels whose image is missing: training never sees them."""
    known = {sample.label for sample in samples}
    beside = {label.parent for label in known}
    pattern = layout.label_files.lower()
    labels = {
        file
        for folder in beside
        for file in walk(folder, depth=0)
        if fnmatchcase(file.name.lower(), pattern)
    }
    stems = {(label.parent, label.stem) for label in labels}
    return [
        Problem(label, "a label without its image", "one of the same name", COPY_AGAIN, fatal=False)
        for label in sorted(labels - known)
        if not is_derived(label, stems)
    ]


def quick_check(dataset: Dataset, labels: bool = True) -> None:
    """Check what a run is about to read; DataError with one line a problem.

    Every file's header and end, so a half-written file is found without decoding; the contents of
    the first three pairs, or of all in a small set. `labels=False` is for a target whose labels
    nobody reads.
    """
    if labels and not dataset.has_labels:
        raise without_labels(dataset.name, dataset.split)
    problems = list(_check_headers(dataset, dataset.samples, labels))
    if not problems and labels:
        first = images.read_header(dataset.samples[0].image)
        pixels = 2 * len(dataset) * (first.width * first.height if first else 0)
        samples = dataset.samples if pixels <= SMALL_SET else dataset.samples[:3]
        problems = list(_check_contents(dataset, samples))
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        raise DataError(_summary(dataset, _gather(fatal)))


def without_labels(name: str, split: str) -> DataError:
    """The error for a split that a run must learn the labels of and that has none."""
    if layout_of(name).folder:  # the user's own
        found = f"{name} has no labels in its {split} split"
        remedy = "describe it again with `bench data new --labels DIR`, "
    else:
        found, remedy = f"{name} was published without labels of its {split} split", ""
    return DataError(
        f"{found}; expected labels to learn from: {remedy}choose a method that needs none of the "
        "target, unlike the oracle, or another scenario"
    )


def _summary(dataset: Dataset, problems: Sequence[Problem], lines: int = 10) -> str:
    text = [f"{dataset.name} ({dataset.split}) has {len(problems)} problem(s):"]
    text += [str(problem) for problem in problems[:lines]]
    if len(problems) > lines:
        text.append("... `bench data verify` lists all")
    return "\n".join(text)


def _check_headers(
    dataset: Dataset, samples: Sequence[Sample], labels: bool = True
) -> Iterator[Problem]:
    """Check existence, format and size without decoding."""
    headers = png.read_headers([sample.image for sample in samples], images.read_header)
    for sample, header in zip(samples, headers, strict=True):
        yield from _check_file(sample.image, header, "a PNG, JPEG or TIFF file")
        if header and header.bits > 8:
            remedy = "take it from the original archive again, or convert it to 8 bits a channel"
            yield Problem(sample.image, f"{header.mode} PNG", "an 8-bit colour image", remedy)
    if not labels:
        return
    if layout_of(dataset.name).folder and not any(sample.label.exists() for sample in samples):
        found = f"no label of the {dataset.split} split is there"
        remedy = (
            "correct the patterns in its file; where it has none, say `labelled = false` under "
            f"[splits.{dataset.split}]"
        )
        yield Problem(dataset.root, found, f"some such as {samples[0].label}", remedy)
        return
    masks = png.read_headers([sample.label for sample in samples], images.read_label_header)
    for sample, image, mask in zip(samples, headers, masks, strict=True):
        yield from _check_file(sample.label, mask)
        if mask is None:
            continue
        encoding = dataset.labels.encoding_of(sample.label)
        if not encoding.holds(mask):
            yield Problem(sample.label, f"{mask.mode} PNG", encoding.title, encoding.remedy)
        if image and image[:2] != mask[:2]:
            yield _size_mismatch(dataset.name, sample, image, mask)


def _check_file(
    file: Path, header: png.PngHeader | None, expected: str = "a PNG file"
) -> Iterator[Problem]:
    if header is None and (reason := images.not_a_file(file)):
        yield Problem(file, reason, expected, "unpack it, or correct the link")
    elif header is None:
        yield Problem(file, f"{file.stat().st_size} bytes, not a PNG", expected, COPY_AGAIN)
    elif size := images.too_large(header.width, header.height):
        bound = f"{images.MAX_PIXELS / 1e6:.0f} megapixels at most"
        yield Problem(file, size, bound, "take it from the original archive again")
    elif not header.complete:
        found = f"half-written, it ends after {file.stat().st_size} bytes"
        yield Problem(file, found, "a whole PNG file", COPY_AGAIN)


def _size_mismatch(name: str, sample: Sample, image: png.PngHeader, mask: png.PngHeader) -> Problem:
    published = layout_of(name).differing_sizes  # where datasets.open_dataset leaves such pairs out
    return Problem(
        sample.label,
        f"{mask.width}x{mask.height} pixels",
        f"{image.width}x{image.height} as its image has",
        "nothing to do, training leaves the pair out" if published else COPY_AGAIN,
        fatal=not published,
    )


def _check_contents(
    dataset: Dataset,
    samples: Sequence[Sample],
    labels: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Problem]:
    """Decode files, check label ids, and see that they are of the set's own convention."""
    pixels = np.zeros(256, np.int64)  # by id
    with ThreadPoolExecutor(4) as pool:
        checked = pool.map(partial(_check_pair, dataset.labels, labelled=labels), samples)
        for done, (problems, counts) in enumerate(checked, 1):
            yield from problems
            pixels += counts
            if progress:
                progress(done, len(samples))
    if not labels or not pixels.any():
        return
    label = samples[0].label
    encoding = dataset.labels.encoding_of(label)
    found = ""
    if not pixels[encoding.table != IGNORE].any():
        found = f"no pixel of any class in {len(samples)} label(s)"
    elif seem_train_ids(encoding, pixels, len(dataset.classes)):
        found = f"what seem to be train ids, 0 to {max(np.flatnonzero(pixels[:IGNORE]))}"
    if found:
        yield Problem(label.parent, found, encoding.title, encoding.remedy)


def seem_train_ids(encoding: Encoding, pixels: npt.NDArray[np.int64], classes: int) -> bool:
    """Whether pixels (256,) by id look like train ids where Cityscapes' label ids are expected.

    Those ids are known either way. But of label ids most pixels belong to a class, and sky,
    vegetation, people and cars have ids above 18.
    """
    if not encoding.seldom_ignored:
        return False
    counted = pixels[:IGNORE]
    void = counted[encoding.table[:IGNORE] == IGNORE].sum()
    return bool(counted[0]) and not counted[classes:].any() and 2 * void > counted.sum()


def _check_pair(
    labels: Labels, sample: Sample, labelled: bool
) -> tuple[list[Problem], npt.NDArray[np.int64]]:
    """Return what is wrong with a pair's contents, and its label's pixels (256,) by id."""
    problems, nothing = [], np.zeros(256, np.int64)
    for file in sample if labelled else (sample.image,):
        if reason := images.damage(file):
            problems.append(Problem(file, f"damaged ({reason})", "a sound image", COPY_AGAIN))
    if problems:
        return problems, nothing
    if (turned := images.orientation_of_file(sample.image)) != 1:
        found = f"EXIF orientation {turned}, which is not applied"
        remedy = "nothing to do where its label fits the picture as stored; else turn its pixels"
        problems.append(Problem(sample.image, found, "none", remedy, fatal=False))
    if not labelled:
        return problems, nothing
    encoding = labels.encoding_of(sample.label)
    try:
        ids = encoding.read(sample.label)
    except DataError as error:
        found, _, wanted = str(error).removeprefix(f"{sample.label}: ").partition("; expected ")
        expected, _, remedy = wanted.rstrip(".").partition(": ")
        problem = Problem(sample.label, found, expected, remedy or encoding.remedy)
        return [*problems, problem], nothing
    if found := encoding.strange(sample.label, ids):
        problems.append(Problem(sample.label, found, encoding.title, encoding.remedy))
    return problems, np.bincount(ids.ravel(), minlength=256)


def _gather(problems: Iterable[Problem]) -> list[Problem]:
    """Make one line of the same problem in many files of a folder."""
    gathered = []

    def what_is_wrong(problem: Problem) -> tuple[str, str, str, str]:
        return str(problem.file.parent), problem.found, problem.expected, problem.remedy

    for _, group in itertools.groupby(sorted(problems, key=what_is_wrong), what_is_wrong):
        same = list(group)
        if len(same) > SAME_PROBLEM:
            first = same[0].file
            found = f"{same[0].found} ({len(same)} files, the first is {first.name})"
            same = [same[0]._replace(file=first.parent, found=found)]
        gathered += same
    return gathered
