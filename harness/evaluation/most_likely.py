"""The class of each pixel: the highest of its scores, and of scores at a stride once resized."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: Cells whose scores a CPU resizes together: 5 MiB of 19 classes at eight times the sides.
CELLS = 1024
#: Times the sides from which on cells pay: a smaller one holds too few pixels.
LEAST = 4


def most_likely(scores: Tensor) -> Tensor:
    """Class of the highest score of each pixel: (B, C, H, W) -> (B, H, W) int64, ties lowest id."""
    return scores.max(1)[1]  # on a CPU a third of arg max's time, two thirds if channels are last


def most_likely_resized(logits: Tensor, sizes: Sequence[tuple[int, ...]]) -> Tensor:
    """`most_likely` of logits (B, C, h, w), resized bilinearly to each of `sizes` in turn.

    A pixel's scores are a mean of those of its cell of the logits and of the eight around it. Where
    one class is the highest in all nine it is so in the pixel, and nothing is resized: on a CPU,
    where sides grow by whole numbers, that is done for the other cells alone. Rounding aside, which
    decides between scores that are all but equal, the classes are those of the resized logits.
    """
    import torch
    import torch.nn.functional as F

    from methods.networks.eager import eager_on_cpu
    from methods.parts.losses import upsample

    batch, classes, height, width = logits.shape
    rows = _weights([size[0] for size in sizes], height)
    columns = _weights([size[1] for size in sizes], width)
    # Nothing times infinity is no number. Asked last, of a CPU alone: a GPU would have to wait.
    fits = eager_on_cpu(logits) and not logits.isinf().any()
    if rows is None or columns is None or not fits:
        for size in sizes:
            logits = upsample(logits, size)
        return most_likely(logits)
    down, across = len(rows), len(columns)
    own = most_likely(logits)
    around = F.pad(own[:, None].float(), (1, 1, 1, 1), mode="replicate")
    mixed = (F.max_pool2d(around, 3, 1) != -F.max_pool2d(-around, 3, 1))[:, 0]
    result = own[:, :, None, :, None].repeat(1, 1, down, 1, across)
    cells = result.transpose(2, 3)  # (B, h, w, down, across)
    scores = F.pad(logits, (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1).reshape(-1, classes)
    image, row, column = mixed.nonzero().unbind(1)
    corner = (image * (height + 2) + row) * (width + 2) + column
    three = torch.arange(3)
    nine = (three[:, None] * (width + 2) + three).flatten()  # a cell and those around it
    weights = torch.kron(rows, columns).T.contiguous()  # (9, pixels)
    for of_these in torch.arange(len(corner)).split(CELLS):
        seen = scores[corner[of_these, None] + nine]  # (cells, 9, C)
        classes_here = most_likely(seen.transpose(1, 2) @ weights)  # of (cells, C, pixels)
        where = image[of_these], row[of_these], column[of_these]
        cells[where] = classes_here.view(-1, down, across)
    return result.view(batch, height * down, width * across)


def _weights(lengths: Sequence[int], length: int) -> Tensor | None:
    """Of a cell's pixels on one side, (pixels, 3): shares of the cell before, of it, of the next.

    None where a length is not a whole multiple of the one before, or the last less than LEAST
    times the first.
    """
    import torch

    from methods.parts.losses import upsample

    chain = [length, *lengths]
    if any(b % a for a, b in pairwise(chain)) or chain[-1] < LEAST * length:
        return None
    times = [b // length for b in lengths]
    shares = torch.eye(5)[1:4].view(3, 1, 5, 1)  # a cell away from borders, which repeat the last
    for each in times:
        shares = upsample(shares, (5 * each, 1))
    return shares[:, 0, 2 * times[-1] : 3 * times[-1], 0].T
