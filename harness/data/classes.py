"""Tables and pictures of train ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

IGNORE = 255


def lookup_table(ids: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Return the (256,) table that maps a label id to its train id, 255 where it has none."""
    table = np.full(256, IGNORE, np.uint8)
    for label_id, train_id in ids.items():
        table[label_id] = train_id
    return table


def colourise(
    label: npt.NDArray[np.integer], palette: Sequence[tuple[int, int, int]]
) -> npt.NDArray[np.uint8]:
    """Paint train ids (H, W) in a class set's colours -> (H, W, 3); ignored pixels are black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours[label]
