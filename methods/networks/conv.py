"""Small convolutional blocks that several heads share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.networks import winograd
from methods.networks.depthwise import DilatedDepthwiseConv, Frames, dilated
from methods.networks.eager import eager_on_cpu, plain_on_cpu
from methods.networks.recompute import norm_relu_conv


class ConvBNReLU(nn.Module):
    """Convolution without bias that keeps the size, BatchNorm, ReLU; named as in mmsegmentation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = _same_size_conv(in_channels, out_channels, kernel_size, dilation, groups)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu_(self.bn, self.conv(x))


def _same_size_conv(
    in_channels: int, out_channels: int, kernel_size: int, dilation: int, groups: int
) -> nn.Conv2d:
    if kernel_size == 3 and dilation > 1 and in_channels == out_channels == groups:
        return DilatedDepthwiseConv(in_channels, dilation)
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=False,
    )


class SeparableConvBNReLU(nn.Module):
    """Depthwise 3x3 with BatchNorm and ReLU, then pointwise with BatchNorm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvBNReLU(in_channels, in_channels, 3, dilation, groups=in_channels)
        self.pointwise_conv = ConvBNReLU(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        depthwise, pointwise = self.depthwise_conv, self.pointwise_conv
        y = norm_relu_conv(depthwise.conv(x), depthwise.bn, pointwise.conv)
        return norm_relu_(pointwise.bn, y)

    def of_slice(self, x: Tensor, channels: slice, total: Tensor | None, frames: Frames) -> Tensor:
        """What a slice of the input's channels adds to the pointwise convolution, on a CPU.

        x: (B, c, H, W), those channels; of running statistics, before the pointwise's BatchNorm.
        total: (B * H * W, O), of the slices before it, or None -> the same with this one.
        frames: what `dilated` keeps from slice to slice.
        """
        conv = self.depthwise_conv.conv
        scale, shift = (one[channels] for one in _scale_and_shift(self.depthwise_conv.bn))
        weight = conv.weight[channels] * scale.view(-1, 1, 1, 1)
        y = F.relu_(dilated(x, weight, shift, conv.dilation[0], frames))
        pixels = y.permute(0, 2, 3, 1).flatten(0, 2)  # (B * H * W, c)
        taps = self.pointwise_conv.conv.weight[:, channels, 0, 0].T
        return pixels @ taps if total is None else total.addmm_(pixels, taps)


def norm_relu_(bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """relu(bn(x)) of a map x (B, C, H, W) that nobody else needs; no gradient needs bn(x).

    Where no gradient is wanted a CPU writes it over x: for a map of 32 MiB and more a new one costs
    as much again.
    """
    if bn.training or torch.is_grad_enabled() or not plain_on_cpu(x):
        return F.relu_(bn(x))
    scale, shift = (one.view(-1, 1, 1) for one in _scale_and_shift(bn))
    return F.relu_(torch.addcmul(shift, x, scale, out=x))


def _scale_and_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a norm by running statistics does to each channel, both (C,)."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    return scale, bn.bias - bn.running_mean * scale


def inference_on_cpu(module: nn.Module, x: Tensor) -> bool:
    """Whether a forward of `x` is for its result alone: no graph, gradient or lower precision.

    Nor batch statistics: an EMA teacher's norms are in training mode while its head is not.
    """
    return (
        plain_on_cpu(x)
        and not torch.is_grad_enabled()
        and not any(part.training for part in module.modules())
    )


class LinearEmbedding(nn.Module):
    """A linear layer on the channels of a map: (B, c, h, w) -> (B, channels, h, w)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def in_slices(self, x: Tensor, channels: int) -> Iterator[Tensor]:
        """The result, so many channels at a time."""
        weights, biases = self.proj.weight.split(channels), self.proj.bias.split(channels)
        return (_linear(x, *of_slice) for of_slice in zip(weights, biases, strict=True))

    def then(self, x: Tensor, weight: Tensor) -> Tensor:
        """What a 1x1 convolution of weight (O, channels) makes of the result, which is not made.

        Both layers are one with as few input channels as x has.
        """
        return _linear(x, weight @ self.proj.weight, weight @ self.proj.bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer on the channels of a map."""
    return F.linear(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """`x` resized bilinearly (align_corners False) to the height and width of `like`."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def concatenated(conv: nn.Conv2d, maps: Sequence[Tensor]) -> Tensor:
    """`conv`, without bias, on the concatenation of maps of one size.

    On a CPU it is the sum of what it makes of each map. Channels-last maps of 1024 channels lie at
    distances that share few lines of the cache: four of 256 take 350 ms where those take 440, and
    the concatenation is never made.
    """
    if not eager_on_cpu(maps[0]):
        return conv(torch.cat(list(maps), dim=1))
    if winograd.worth_it(maps, conv):
        return winograd.convolved(maps, conv.weight)
    return _sum(conv, maps, maps[0])


def pointwise(conv: nn.Conv2d, maps: Sequence[Tensor], like: Tensor) -> Tensor:
    """`conv`, a 1x1 without bias, on the concatenation of `maps`, each resized to `like`.

    It is applied before the resizing, to each map at its own size: the two commute, coarse maps
    are small, and the concatenation is never made.
    """
    return _sum(conv, maps, like)


def pointwise_of_embedded(
    conv: nn.Conv2d, embeddings: Sequence[LinearEmbedding], features: Sequence[Tensor], like: Tensor
) -> Tensor:
    """`pointwise` of the embedded features. For a result alone (`inference_on_cpu`)."""
    weights = conv.weight[:, :, 0, 0].chunk(len(features), dim=1)
    parts = (
        resize_to(embed.then(x, weight), like)
        for embed, x, weight in zip(embeddings, features, weights, strict=True)
    )
    return _added(parts)


def _sum(conv: nn.Conv2d, maps: Sequence[Tensor], like: Tensor) -> Tensor:
    weights = conv.weight.split([x.shape[1] for x in maps], dim=1)
    parts = (
        resize_to(F.conv2d(x, w, padding=conv.padding, dilation=conv.dilation), like)
        for x, w in zip(maps, weights, strict=True)
    )
    return _added(parts)


def _added(parts: Iterator[Tensor]) -> Tensor:
    """Their sum, which no gradient needs, in the first."""
    total = next(parts)
    for part in parts:
        total = total.add_(part)
    return total


def classifier(
    in_channels: int, num_classes: int, kernel_size: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """A scoring convolution with bias that keeps the size, N(0, 0.01) as in the reference."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(in_channels, num_classes, kernel_size, padding=padding, dilation=dilation)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.bias, 0)  # type: ignore[arg-type]
    return conv
