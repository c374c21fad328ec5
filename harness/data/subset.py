"""`bench subset`: a few images of a user's real data that show every class the data has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from harness.config.schema import Scenario
from harness.data.datasets import Dataset, has_dataset, open_dataset
from harness.data.rare_class import class_statistics
from harness.data.walk import walk
from harness.errors import DataError
from harness.files import folder_written_whole

#: An image shows a class that covers this share of it; a class never so large, where it is largest.
SHARE = 1e-3
#: By the name of a piece of work, what is told how much of how much of it is done.
Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class ChosenImages:
    """The images that are taken of one split."""

    dataset: Dataset
    chosen: list[int]
    lacking: tuple[str, ...] | None  # classes that the whole split lacks; None: labels are missing

    def __str__(self) -> str:
        text = f"{self.dataset.name} {self.dataset.split}: {len(self.chosen)} of "
        text += f"{len(self.dataset)} images"
        if self.lacking is None:
            return f"{text}, drawn at random: labels are missing"
        classes = len(self.dataset.classes) - len(self.lacking)
        without = f"; the data itself has no {', '.join(self.lacking)}" if self.lacking else ""
        return f"{text}, with all of its {classes} classes{without}"


def subset(
    scenario: Scenario,
    data_root: Path | None,
    out: Path,
    images: int,
    seed: int,
    console: Console,
    counting: Counting,
) -> None:
    """Copy `images` of the source, of the target to adapt on and to score each, byte for byte.

    They keep their names and places below the data root. `out` appears whole or not at all, and
    nothing else is written. DataError where data is missing, where `out` holds something or lies
    inside a set, and where so few images cannot show every class.
    """
    datasets = _open(scenario, data_root)
    _check_place(out, datasets)
    selections = [_choose(dataset, images, seed, counting) for dataset in datasets]
    assert data_root is not None
    _write(selections, data_root, out, counting)
    use = f"use it: bench run --method daformer --scenario {scenario.name} --profile tiny"
    for line in (*selections, f"{use} --data-root {out}"):
        console.print(str(line), markup=False, highlight=False, soft_wrap=True)


def _open(scenario: Scenario, data_root: Path | None) -> list[Dataset]:
    """The splits that a run of the scenario reads, less those that are generated."""
    if scenario.datasets:
        raise DataError(
            f"{scenario.name} uses your own {' and '.join(scenario.datasets)}; expected a scenario "
            "of sets below a data root: of your own, copy the images and labels that you want."
        )
    if data_root is None:
        raise DataError(
            f"no data root was given; expected a folder that holds {scenario.source}/ and "
            f"{scenario.target}/. Give it with --data-root or UDA_BENCH_DATA."
        )
    target = scenario.target
    wanted = [(target, scenario.target_split), (target, scenario.eval_split)]
    if has_dataset(scenario.source, data_root) or not scenario.generated_source:
        wanted.insert(0, (scenario.source, scenario.source_split))
    return [open_dataset(name, data_root, split) for name, split in wanted]


def _check_place(out: Path, datasets: list[Dataset]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is there and not empty; expected a new folder: name another --out.")
    for dataset in datasets:
        if out.resolve().is_relative_to(dataset.root.resolve()):
            raise DataError(
                f"{out} lies inside {dataset.name}; expected a folder outside of all data sets: "
                "name another --out."
            )


def _choose(dataset: Dataset, images: int, seed: int, counting: Counting) -> ChosenImages:
    """First the images that show every class between them, then any others."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    lacking: tuple[str, ...] | None = None
    cover: list[int] = []
    if all(sample.label.exists() for sample in dataset.samples):
        counts = _counts(dataset, counting)
        seen = counts[:, :-1].any(axis=0)
        lacking = tuple(np.array(dataset.classes.names)[~seen].tolist())
        cover = covering(counts, order)
    if len(cover) > images:
        raise DataError(
            f"--images {images}: {dataset.name} {dataset.split} needs {len(cover)} to show each of "
            f"its classes; expected that many or more."
        )
    others = [i for i in order.tolist() if i not in cover]
    return ChosenImages(dataset, sorted((cover + others)[:images]), lacking)


def _counts(dataset: Dataset, counting: Counting) -> npt.NDArray[np.int64]:
    what = f"counting the classes of {dataset.name} {dataset.split}, once"
    with counting(what) as counted:
        return class_statistics(dataset, counted).counts


def covering(counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> list[int]:
    """Images that show every class between them, by a greedy choice.

    counts: pixels (images, C + 1), the last ignored ones; `order` decides between equals. The
    rarest class goes first, to the image that shows most of the classes still missing.
    """
    shares = counts[:, :-1] / np.maximum(counts.sum(1, keepdims=True), 1)
    shows = (shares > 0) & (shares >= np.minimum(SHARE, shares.max(0)))  # (images, C)
    missing = shows.any(0)
    chosen = []
    while missing.any():
        rarest = np.flatnonzero(missing)[shows.sum(0)[missing].argmin()]
        holders = order[shows[order, rarest]]
        best = holders[shows[holders][:, missing].sum(1).argmax()]
        chosen.append(int(best))
        missing &= ~shows[best]
    return chosen


def _write(selections: list[ChosenImages], data_root: Path, out: Path, counting: Counting) -> None:
    """Copy beside `out`, then rename: a broken-off copy never stands under its name."""
    files = [file for selection in selections for file in _files(selection)]
    what = f"copying files to {out}"
    with folder_written_whole(out.resolve()) as building, counting(what) as copied:
        for done, file in enumerate(files):
            copied(done, len(files))
            copy = building / file.relative_to(data_root)
            if file.exists() and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _files(selection: ChosenImages) -> list[Path]:
    """The chosen images with their labels, and the lists of frames that lie beside the folders."""
    files = [file for i in selection.chosen for file in selection.dataset.samples[i]]
    lists = (file for file in walk(selection.dataset.root, depth=0) if file.suffix == ".txt")
    return [*files, *lists]
