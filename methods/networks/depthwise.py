"""Dilated depthwise convolutions, which torch has no fast kernel for on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from methods.networks.eager import eager_on_cpu

#: The widest zeros around a channels-last map that torch's own kernels are fast with.
WIDEST_PADDING = 6
#: Maps within zeros, by their shape and the zeros' width.
Frames = dict[tuple[torch.Size, int], Tensor]


class DilatedDepthwiseConv(nn.Conv2d):
    """A depthwise 3x3 without bias that keeps the size, at a dilation above 1.

    On a CPU it is computed in another way (`dilated`). Forward and backward of (2, 1024, 64, 64)
    take a third of the time so, the outputs are the same. Elsewhere, and in a graph that is being
    recorded, it is the convolution itself.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__(
            channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) -> the same shape; channels-last on a CPU."""
        if not eager_on_cpu(x):
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):  # what it would do to the convolution
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        return _Dilated.apply(x, weight, self.dilation[0])


def dilated(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    frames: Frames | None = None,
) -> Tensor:
    """The depthwise convolution of x (B, C, H, W) with weight (C, 1, 3, 3), for a CPU.

    torch's kernels for channels-last maps stop at a padding of 6. Beyond it the map is padded
    before; or, where that would more than quadruple it, cut into the maps of every dilation-th row
    and column, on which the convolution has no dilation. `frames`, where there are several calls
    without a gradient, keeps the zeros around a map for the next of its size.
    """
    if dilation <= WIDEST_PADDING:
        x = x.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, bias, padding=dilation, dilation=dilation, groups=len(weight))
    if 2 * dilation > min(x.shape[2:]):
        y = F.conv2d(_cut(x, dilation), weight, bias, padding=1, groups=len(weight))
        return _joined(y, dilation, x.shape)
    padded = _padded(x, dilation, {} if frames is None else frames)
    return F.conv2d(padded, weight, bias, dilation=dilation, groups=len(weight))


def _padded(x: Tensor, width: int, frames: Frames) -> Tensor:
    """x (B, C, H, W) within zeros, so many on every side; channels-last."""
    frame = frames.get(key := (x.shape, width))
    if frame is None:
        x = x.contiguous(memory_format=torch.channels_last)
        frame = frames[key] = F.pad(x, (width, width, width, width))
    else:
        frame[..., width:-width, width:-width] = x
    return frame


class _Dilated(torch.autograd.Function):
    """Saves the map itself, which its branches share, and not the pieces."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return dilated(x, weight, None, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        mirrored = of_x and ctx.dilation <= WIDEST_PADDING
        x_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
            *(_cut(gradient, ctx.dilation), _cut(x, ctx.dilation), weight, None),
            *([1, 1], [1, 1], [1, 1], False, [0, 0], len(weight)),
            [of_x and not mirrored, of_weight, False],
        )
        if mirrored:  # wider ones take more memory so, and no less time
            x_gradient = dilated(gradient, weight.flip(-2, -1), None, ctx.dilation)
        elif of_x:
            x_gradient = _joined(x_gradient, ctx.dilation, x.shape)
        return x_gradient, weight_gradient, None


def _cut(x: Tensor, step: int) -> Tensor:
    """(B, C, H, W) -> channels-last (B * step * step, C, ceil(H / step), ceil(W / step))."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % step, 0, -height % step)).permute(0, 2, 3, 1)
    pieces = x.unflatten(2, (-1, step)).unflatten(1, (-1, step)).permute(0, 2, 4, 1, 3, 5)
    return pieces.contiguous().flatten(0, 2).permute(0, 3, 1, 2)


def _joined(pieces: Tensor, step: int, shape: torch.Size) -> Tensor:
    """What `_cut` cut: -> channels-last (B, C, H, W), `shape`."""
    grid = pieces.permute(0, 2, 3, 1).unflatten(0, (-1, step, step)).permute(0, 3, 1, 4, 2, 5)
    x = grid.contiguous().flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    return x[:, :, : shape[2], : shape[3]].contiguous(memory_format=torch.channels_last)
