"""3x3 convolutions of wide maps with a quarter of the multiplications, on a CPU.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: F(4x4, 3x3).
Every 4x4 outputs come of a tile of 6x6 inputs. Both are transformed, so that the convolution is 36
matrix products over channels; a GPU's library does the same. With dilation d a tile takes every
d-th cell. In float32 an output differs from the direct convolution's by some 1e-5 of the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from methods.networks.eager import plain_on_cpu

Matrix = tuple[tuple[float, ...], ...]

OUT, IN = 4, 6  # sides of a tile of outputs and of its inputs
#: The paper's G and A^T for the points 0, 1, -1, 2, -2; B^T is `_to_tile`'s.
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
FEWEST_CHANNELS, FEWEST_CELLS = 256, 1024
#: Channels whose kernels are transformed together. Blocks of 32 MiB and more come from the system,
#: and each page of theirs costs a fault.
CHANNELS_AT_ONCE = 256
#: Bytes of transformed tiles at a time. With 24 MiB a step of MiT-B0 takes 3 % less time, but 24 %
#: more memory.
BYTES_AT_ONCE = 8 * 2**20


def worth_it(maps: Sequence[Tensor], conv: nn.Conv2d) -> bool:
    """Whether this is faster than torch's convolution of maps (B, c_i, H, W)."""
    images, _, height, width = maps[0].shape
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.groups == 1
        and conv.bias is None
        and conv.padding == conv.dilation == conv.dilation[::-1]
        and plain_on_cpu(maps[0])
        and min(conv.out_channels, *(x.shape[1] for x in maps)) >= FEWEST_CHANNELS
        and images * height * width >= FEWEST_CELLS
        and min(height, width) >= OUT * conv.dilation[0]
    )


def convolution(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(x) of a map (B, C, H, W), by Winograd's way where that is faster."""
    return convolved([x], conv.weight, conv.dilation[0]) if worth_it([x], conv) else conv(x)


def convolved(maps: Sequence[Tensor], weight: Tensor, dilation: int = 1) -> Tensor:
    """The convolution of maps (B, c_i, H, W), one after the other, that keeps their size.

    weight: (O, sum of c_i, 3, 3) -> (B, O, H, W), its channels last where the first map's are.
    """
    return _Winograd.apply(weight, dilation, *maps)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, dilation: int, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *maps)
        ctx.dilation = dilation
        return forward(maps, weight, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, *maps = ctx.saved_tensors
        of_maps, of_weight = gradients(maps, weight, gradient, ctx.dilation)
        return of_weight, None, *of_maps


def forward(maps: Sequence[Tensor], weight: Tensor, dilation: int) -> Tensor:
    """What `convolved` gives, for a function that has its own backward pass."""
    grid = _Grid.of(maps[0], dilation)
    parts = _parts(maps)
    kernels = [_kernels(w, _KERNEL).transpose(1, 2) for w in _along_inputs(weight, parts)]
    result = grid.empty(maps[0], len(weight))
    for strip in grid.strips(parts):
        tiles = (grid.inputs(part, strip) for part in parts)
        grid.put(result, strip, _product_sum(tiles, kernels))
    return grid.cropped(result, maps[0])


def gradients(
    maps: Sequence[Tensor], weight: Tensor, gradient: Tensor, dilation: int
) -> tuple[list[Tensor], Tensor]:
    """Of maps and weight, from that of the result (B, O, H, W)."""
    grid = _Grid.of(gradient, dilation)
    return _of_maps(grid, maps, weight, gradient), _of_weight(grid, maps, gradient)


def _of_maps(grid: _Grid, maps: Sequence[Tensor], weight: Tensor, gradient: Tensor) -> list[Tensor]:
    """A map's gradient is the convolution of the result's with the mirrored kernel."""
    parts = _parts([gradient])
    kernels = [
        [_kernels(part, _MIRRORED) for part in of_map.split(CHANNELS_AT_ONCE)]
        for of_map in _along_inputs(weight, maps)
    ]
    results = [grid.empty(x, x.shape[1]) for x in maps]
    for strip in grid.strips(parts):
        tiles = [grid.inputs(part, strip) for part in parts]
        for result, of_map in zip(results, kernels, strict=True):
            grid.put(result, strip, _product_sum(tiles, of_map))
    return [grid.cropped(result, x) for result, x in zip(results, maps, strict=True)]


def _of_weight(grid: _Grid, maps: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """Of a tile: its transformed input times its output's gradient, transformed back."""
    parts, outputs = _parts(maps), gradient.shape[1]
    totals: list[Tensor] = []  # a part's (36, O, C)
    for strip in grid.strips(parts):
        tiles = grid.outputs(gradient, strip).transpose(1, 2)
        before: Sequence[Tensor | None] = totals or [None] * len(parts)
        totals = [
            _plus_product(total, tiles, grid.inputs(part, strip))
            for total, part in zip(before, parts, strict=True)
        ]
    back = _both_ways(_KERNEL, gradient).T
    of_taps = []
    while totals:  # before concatenation, and each is let go: a quarter of the memory
        of_taps.append((back @ totals.pop(0).flatten(1)).view(9, outputs, -1))
    return torch.cat(of_taps, 2).permute(1, 2, 0).unflatten(2, (3, 3)).contiguous()


def _parts(maps: Sequence[Tensor]) -> list[Tensor]:
    return [part for x in maps for part in x.split(CHANNELS_AT_ONCE, dim=1)]


def _along_inputs(weight: Tensor, maps: Sequence[Tensor]) -> Sequence[Tensor]:
    return weight.split([x.shape[1] for x in maps], dim=1)


def _product_sum(tiles: Iterable[Tensor], kernels: Iterable[Tensor]) -> Tensor:
    """Of a part's tiles (36, tiles, c) and kernels (36, c, O), over parts: (36, tiles, O)."""
    total: Tensor | None = None
    for part, kernel in zip(tiles, kernels, strict=True):
        total = _plus_product(total, part, kernel)
    assert total is not None
    return total


def _plus_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b) if total is None else total.baddbmm_(a, b)


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


def _every(tiles: int) -> Iterator[slice]:
    """Of each of so many tiles along a side the first cell, then the second, up to the sixth."""
    return (slice(i, i + OUT * (tiles - 1) + 1, OUT) for i in range(IN))


def _to_tile(cells: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Six cells along a side of a tile, transformed into `out`: the paper's B^T."""
    a, b, c, d, e, f = cells
    even, odd = torch.sub(e, c, alpha=4), torch.sub(d, b, alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(e, c, out=even)
    torch.sub(d, b, out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    torch.add(e, a, alpha=4, out=out[0]).sub_(c, alpha=5)
    torch.add(f, b, alpha=4, out=out[5]).sub_(d, alpha=5)


@dataclass(frozen=True)
class _Grid:
    """The tiles of maps of one size.

    A tile of outputs, with dilation d, is every d-th of 4d rows and columns: d * d of them lie
    within one another.
    """

    images: int
    height: int
    width: int
    dilation: int

    @classmethod
    def of(cls, x: Tensor, dilation: int) -> _Grid:
        return cls(len(x), x.shape[2], x.shape[3], dilation)

    @property
    def rows(self) -> int:
        return -(-self.height // (OUT * self.dilation))

    @property
    def columns(self) -> int:
        return -(-self.width // (OUT * self.dilation))

    def empty(self, like: Tensor, channels: int) -> Tensor:
        """Room for whole tiles: (B, rows, 4, d, columns, 4, d, channels)."""
        d = self.dilation
        return like.new_empty(self.images, self.rows, OUT, d, self.columns, OUT, d, channels)

    def cropped(self, result: Tensor, like: Tensor) -> Tensor:
        """The map of `empty`'s tiles, laid out as another: (B, C, H, W)."""
        x = result.flatten(4, 6).flatten(1, 3)[:, : self.height, : self.width].permute(0, 3, 1, 2)
        last = like.is_contiguous(memory_format=torch.channels_last)
        return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def strips(self, parts: Sequence[Tensor]) -> Iterator[slice]:
        """Rows of tiles of all images that are transformed together, at least one."""
        channels = max(part.shape[1] for part in parts)
        tiles = self.images * self.columns * self.dilation**2
        row = IN * IN * tiles * channels * parts[0].element_size()
        rows = max(BYTES_AT_ONCE // row, 1)
        for start in range(0, self.rows, rows):
            yield slice(start, min(start + rows, self.rows))

    def inputs(self, x: Tensor, strip: slice) -> Tensor:
        """Tiles of inputs x (B, C, H, W), which overlap, transformed: (36, tiles, C)."""
        rows = self._rows(x, OUT * strip.start - 1, OUT * strip.stop + 1, 1)
        images, _, d, columns, _, channels = rows.shape
        high = strip.stop - strip.start
        down = x.new_empty(IN, images, high, d, columns, d, channels)
        tiles = x.new_empty(IN, IN, images, high, d, self.columns, d, channels)
        _to_tile([rows[:, one] for one in _every(high)], down.unbind())
        _to_tile([down[:, :, :, :, one] for one in _every(self.columns)], tiles.unbind(1))
        return tiles.view(IN * IN, -1, channels)

    def outputs(self, gradient: Tensor, strip: slice) -> Tensor:
        """Tiles of gradients of outputs, by the transposed transformation: (36, tiles, O)."""
        rows = self._rows(gradient, OUT * strip.start, OUT * strip.stop, 0)
        tiles = rows.unflatten(3, (-1, OUT)).unflatten(1, (-1, OUT))
        tiles = tiles.permute(2, 5, 0, 1, 3, 4, 6, 7).contiguous().view(OUT * OUT, -1)
        return (_both_ways(_OUTPUT, gradient).T @ tiles).view(IN * IN, -1, gradient.shape[1])

    def _rows(self, x: Tensor, first: int, last: int, around: int) -> Tensor:
        """Rows of a tile's cells from first to last, with zeros where the map has none.

        (B, rows, d, columns and so many more on either side, d, C)
        """
        d = self.dilation
        inside = slice(max(first * d, 0), min(last * d, self.height))
        missing = inside.start - first * d, last * d - inside.stop
        right = (OUT * self.columns + around) * d - self.width
        rows = x.permute(0, 2, 3, 1)[:, inside]
        rows = F.pad(rows, (0, 0, around * d, right, *missing))
        return rows.unflatten(2, (-1, d)).unflatten(1, (-1, d))

    def put(self, result: Tensor, strip: slice, products: Tensor) -> None:
        """Products (36, tiles, O), transformed back, into their place in the result."""
        cells = torch.mm(_both_ways(_OUTPUT, products), products.flatten(1))
        d = self.dilation
        cells = cells.view(OUT, OUT, self.images, -1, d, self.columns, d, products.shape[2])
        result[:, strip] = cells.permute(2, 3, 0, 4, 5, 1, 6, 7)
