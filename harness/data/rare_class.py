"""Class statistics of a labelled set, and rare class sampling (DAFormer, section 3.2).

Counted once at the labels' full resolution, kept in our own cache, and right on any subset.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.cache import STATISTICS, cache_dir, keep_bounded, mark_used
from harness.data.datasets import Dataset
from harness.data.transforms import class_counts
from harness.errors import DataError
from harness.files import read_json, write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassStatistics:
    """Pixels of each class in each image: `counts` (images, C + 1), the last ignored ones."""

    counts: npt.NDArray[np.int64]
    names: tuple[str, ...]  # of the C classes

    @property
    def pixels(self) -> npt.NDArray[np.int64]:
        """Pixels of each class over all images (C,)."""
        return self.counts[:, :-1].sum(axis=0)

    def eligible(self, train_id: int, min_pixels: float) -> npt.NDArray[np.int64]:
        """Return the indices of the images that hold more than `min_pixels` of a class."""
        return np.flatnonzero(self.counts[:, train_id] > min_pixels)


def class_probabilities(
    statistics: ClassStatistics, temperature: float, min_pixels: float = 0
) -> npt.NDArray[np.float64]:
    """Return the chance of each class to be drawn (C,): softmax((1 - f) / T), f its pixel share.

    A class without an image of more than `min_pixels` of it gets 0, the rest is scaled to sum to 1.
    DataError when no class has one.
    """
    pixels = statistics.pixels
    possible = np.array([statistics.eligible(c, min_pixels).size > 0 for c in range(len(pixels))])
    if not possible.any():
        raise DataError(
            f"no image holds more than {min_pixels:g} pixels of any class; "
            "lower rcs_min_pixels, or check the labels with `bench data verify`"
        )
    scores = (1 - pixels / pixels.sum()) / temperature
    weights = np.where(possible, np.exp(scores - scores[possible].max()), 0)
    return weights / weights.sum()


class RareClassSampler:
    """Draws a class, rare ones more often, then any image that holds enough of it."""

    def __init__(self, statistics: ClassStatistics, temperature: float, min_pixels: float) -> None:
        self.probabilities = class_probabilities(statistics, temperature, min_pixels)
        self.images = [statistics.eligible(c, min_pixels) for c in range(len(self.probabilities))]
        missing = [statistics.names[c] for c in np.flatnonzero(self.probabilities == 0)]
        if missing:
            log.warning(
                "rare class sampling: no image holds more than %g pixels of %s; never drawn",
                min_pixels,
                ", ".join(missing),
            )

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Return a class and the index of an image."""
        train_id = int(rng.choice(len(self.probabilities), p=self.probabilities))
        return train_id, int(rng.choice(self.images[train_id]))


def class_statistics(
    dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> ClassStatistics:
    """Read a set's statistics from the cache, or count them and keep them there.

    `progress(done, all)` is called while counting.
    """
    names = dataset.classes.names
    cached = cache_dir() / "class_stats" / f"{dataset.fingerprint()}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or not whole: count
        counts = np.array(read_json(cached)["counts"], np.int64)
        if counts.shape == (len(dataset), len(names) + 1):
            mark_used(cached)
            return ClassStatistics(counts, names)
    counts = _count(dataset, progress)
    try:
        write_text(cached, json.dumps({"dataset": dataset.name, "counts": counts.tolist()}))
        keep_bounded(STATISTICS)
    except OSError as error:
        log.warning("class statistics of %s are not kept: %s", dataset.name, error)
    return ClassStatistics(counts, names)


def _count(dataset: Dataset, progress: Callable[[int, int], None] | None) -> npt.NDArray[np.int64]:
    classes = len(dataset.classes)
    counts = np.zeros((len(dataset), classes + 1), np.int64)
    # Threads are enough: decoding, which takes most of the time, leaves the interpreter free.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        rows = pool.map(lambda i: class_counts(dataset.read_label(i), classes), range(len(dataset)))
        for i, row in enumerate(rows):
            counts[i] = row
            if progress:
                progress(i + 1, len(dataset))
    return counts
