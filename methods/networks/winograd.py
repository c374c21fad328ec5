"""3x3 convolutions of wide maps with a quarter of the multiplications, on a CPU.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: F(4x4, 3x3).
Every 4x4 outputs come of a tile of 6x6 inputs. Both are transformed, so that the convolution is 36
matrix products over channels; a GPU's library does the same. In float32 an output differs from the
direct convolution's by some 1e-5 of the largest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from methods.networks.eager import plain_on_cpu

Matrix = tuple[tuple[float, ...], ...]

OUT, IN = 4, 6  # sides of a tile of outputs and of its inputs
#: The paper's B^T, G and A^T for the points 0, 1, -1, 2, -2.
_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_MIRRORED = tuple(row[::-1] for row in _KERNEL)
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
#: Fewer channels or cells do not repay the transformations.
FEWEST_CHANNELS, SHORTEST_SIDE = 256, 16
#: Bytes of transformed tiles at a time. With 24 MiB a step of MiT-B0 takes 3 % less time, but 24 %
#: more memory.
BYTES_AT_ONCE = 8 * 2**20


def worth_it(maps: Sequence[Tensor], conv: nn.Conv2d) -> bool:
    """Whether this is faster than torch's convolution of maps (B, c_i, H, W)."""
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.groups == 1
        and conv.padding == conv.dilation == (1, 1)
        and plain_on_cpu(maps[0])
        and min(conv.out_channels, *(x.shape[1] for x in maps)) >= FEWEST_CHANNELS
        and min(maps[0].shape[2:]) >= SHORTEST_SIDE
    )


def convolved(maps: Sequence[Tensor], weight: Tensor) -> Tensor:
    """The convolution of maps (B, c_i, H, W), one after the other, that keeps their size.

    weight: (O, sum of c_i, 3, 3) -> channels-last (B, O, H, W).
    """
    return _Winograd.apply(weight, *maps)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *maps)
        return _forward(maps, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        weight, *maps = ctx.saved_tensors
        of_maps, of_weight = _gradients(maps, weight, gradient)
        return of_weight, *of_maps


def _forward(maps: Sequence[Tensor], weight: Tensor) -> Tensor:
    widths = [x.shape[1] for x in maps]
    kernels = _kernels(weight, _KERNEL).transpose(1, 2).split(widths, dim=1)
    padded = [_padded(x) for x in maps]
    result = _empty(maps[0], len(weight))
    for strip in _strips(result, max(widths)):
        total: Tensor | None = None  # (36, tiles, O)
        for x, kernel in zip(padded, kernels, strict=True):
            tiles = _inputs(x, strip)
            total = torch.bmm(tiles, kernel) if total is None else total.baddbmm_(tiles, kernel)
        assert total is not None
        _put(result, strip, total)
    return _cropped(result, maps[0])


def _gradients(
    maps: Sequence[Tensor], weight: Tensor, gradient: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Of maps and weight, from that of the result (B, O, H, W)."""
    widths = [x.shape[1] for x in maps]
    # A map's gradient is the convolution of the result's with the mirrored kernel.
    mirrored = _kernels(weight, _MIRRORED).split(widths, dim=2)
    padded, padded_gradient = [_padded(x) for x in maps], _padded(gradient)
    of_maps = [_empty(x, x.shape[1]) for x in maps]
    of_kernels = [gradient.new_zeros(IN * IN, len(weight), c) for c in widths]
    for strip in _strips(of_maps[0], max(*widths, len(weight))):
        tiles = _inputs(padded_gradient, strip)
        for of_map, kernel in zip(of_maps, mirrored, strict=True):
            _put(of_map, strip, torch.bmm(tiles, kernel))
        tiles = _outputs(padded_gradient, strip)
        for of_kernel, x in zip(of_kernels, padded, strict=True):
            of_kernel.baddbmm_(tiles.transpose(1, 2), _inputs(x, strip))
    back = _both_ways(_KERNEL, gradient).T  # before concatenation: a quarter of the memory
    of_taps = [(back @ of.flatten(1)).view(9, len(weight), -1) for of in of_kernels]
    of_weight = torch.cat(of_taps, 2).flatten(1)  # (9, O * C)
    of_maps = [_cropped(of_map, x) for of_map, x in zip(of_maps, maps, strict=True)]
    return of_maps, of_weight.T.contiguous().view_as(weight)


def _both_ways(matrix: Matrix, like: Tensor) -> Tensor:
    """The transformation of a tile's rows and of its columns, as one matrix."""
    return like.new_tensor(_product(matrix))


@cache
def _product(matrix: Matrix) -> list[list[float]]:
    """Kronecker's product of the matrix with itself."""
    return [[a * b for a in one for b in other] for one in matrix for other in matrix]


def _kernels(weight: Tensor, matrix: Matrix) -> Tensor:
    """weight (O, C, 3, 3) -> transformed (36, O, C)."""
    taps = weight.reshape(-1, 9).T
    return (_both_ways(matrix, weight) @ taps).view(IN * IN, *weight.shape[:2])


def _padded(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, rows, columns, C): whole tiles, and the cells around them, with zeros."""
    height, width = x.shape[2:]
    below, right = 1 + -height % OUT, 1 + -width % OUT
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))


def _empty(like: Tensor, channels: int) -> Tensor:
    """Room for whole tiles of outputs: (B, rows of tiles, 4, tiles a row, 4, channels)."""
    rows, columns = (-(-side // OUT) for side in like.shape[2:])
    return like.new_empty(len(like), rows, OUT, columns, OUT, channels)


def _cropped(tiles: Tensor, like: Tensor) -> Tensor:
    """The map of `_empty`'s tiles, as large as `like`: (B, C, H, W), channels-last."""
    x = tiles.flatten(3, 4).flatten(1, 2)[:, : like.shape[2], : like.shape[3]]
    return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _strips(result: Tensor, channels: int) -> Iterator[slice]:
    """Rows of tiles of all images that are transformed together, at least one."""
    row = IN * IN * len(result) * result.shape[3] * channels * result.element_size()
    rows = max(BYTES_AT_ONCE // row, 1)
    for start in range(0, result.shape[1], rows):
        yield slice(start, min(start + rows, result.shape[1]))


def _inputs(padded: Tensor, strip: slice) -> Tensor:
    """Tiles of inputs, which overlap, transformed: (36, tiles, C)."""
    rows = padded[:, OUT * strip.start : OUT * strip.stop + 2]
    windows = rows.unfold(1, IN, OUT).unfold(2, IN, OUT)  # (B, rows, columns, C, 6, 6)
    tiles = windows.permute(4, 5, 0, 1, 2, 3).contiguous().view(IN * IN, -1)
    return torch.mm(_both_ways(_INPUT, padded), tiles).view(IN * IN, -1, padded.shape[3])


def _outputs(padded: Tensor, strip: slice) -> Tensor:
    """Tiles of gradients of outputs, as the transposed transformation has them: (36, tiles, O)."""
    cells = padded[:, 1 + OUT * strip.start : 1 + OUT * strip.stop, 1:-1]
    tiles = cells.unflatten(2, (-1, OUT)).unflatten(1, (-1, OUT)).permute(2, 4, 0, 1, 3, 5)
    tiles = tiles.contiguous().view(OUT * OUT, -1)
    matrix = _both_ways(_OUTPUT, padded)
    return (matrix.T @ tiles).view(IN * IN, -1, padded.shape[3])


def _put(result: Tensor, strip: slice, products: Tensor) -> None:
    """Products (36, tiles, O), transformed back, into their place in the result."""
    images, _, _, columns, _, channels = result.shape
    cells = torch.mm(_both_ways(_OUTPUT, products), products.flatten(1))
    cells = cells.view(OUT, OUT, images, -1, columns, channels)
    result[:, strip] = cells.permute(2, 3, 0, 4, 1, 5)
