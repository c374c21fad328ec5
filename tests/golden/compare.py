"""One comparison with the reference, and how far apart two results are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

DATA = Path(__file__).parents[1] / "data" / "golden"

Array = Tensor | npt.NDArray[Any] | float


@dataclass(frozen=True)
class Comparison:
    """A quantity, the file that holds the reference's value, and how far ours may be from it."""

    name: str
    file: str
    tolerance: float  # 0: equal
    deviation: Callable[[], float]


@cache
def arrays(file: str) -> Mapping[str, npt.NDArray[Any]]:
    """All arrays of a golden file."""
    with np.load(DATA / file) as archive:
        return {name: archive[name] for name in archive.files}


def read_json(file: str) -> Any:
    """A golden file of the reference's settings."""
    return json.loads((DATA / file).read_text(encoding="utf-8"))


def tensor(file: str, name: str) -> Tensor:
    """One array as a tensor; uint8 labels as int64, without their channel axis."""
    value = torch.from_numpy(np.array(arrays(file)[name]))
    if value.dtype == torch.uint8 and not name.endswith("_u8"):
        return value.long().squeeze(1) if value.ndim == 4 else value.long()
    return value


def prefixed(file: str, prefix: str) -> dict[str, Tensor]:
    """All arrays whose name starts with `prefix`, without it, as tensors."""
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(value))
        for name, value in arrays(file).items()
        if name.startswith(prefix)
    }


def deviation(ours: Array, theirs: Array) -> float:
    """Largest difference, relative to the reference's largest value; NaN must meet NaN."""
    mine, other = (np.asarray(_plain(x), dtype=np.float64) for x in (ours, theirs))
    if mine.shape != other.shape or not np.array_equal(np.isnan(mine), np.isnan(other)):
        return float("inf")
    difference, scale = np.nanmax(np.abs(mine - other)), np.nanmax(np.abs(other))
    return float(difference / scale) if scale else float(difference)


def differing(ours: Array, theirs: Array) -> float:
    """Share of entries that differ: for labels, masks and other whole numbers."""
    mine, other = (np.asarray(_plain(x)) for x in (ours, theirs))
    return float(np.mean(mine != other)) if mine.shape == other.shape else float("inf")


def largest(pairs: Iterable[tuple[Array, Array]]) -> float:
    """The largest deviation of several pairs, each on its own scale."""
    return max(deviation(ours, theirs) for ours, theirs in pairs)


def _plain(value: Array) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
