"""A network that sees an image at two scales, fused by attention (HRDA, ECCV 2022, section 3).

Context is the whole image at half size, detail are windows of half its sides at full size, both
through the same network. A head on the context's features gives the detail's weight for every class
and place.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from methods.contract import Segmentation, Segmentor
from methods.networks.heads.segformer import SegFormerHead
from methods.networks.names import TWO_SCALES
from methods.networks.segmentor import PaddedSegmentor, reached
from methods.parts.losses import upsample

#: Rows and columns of an image.
Window = tuple[slice, slice]

#: Embedding width of the attention's head (paper); a narrower network has a narrower one.
ATTENTION_CHANNELS = 256


class Detail(NamedTuple):
    """What was seen in one window of every image, for a loss of its own."""

    logits: Tensor  # (B, C, h, w)
    window: Window


class Detailed(Segmentation):
    """A segmentation into which one window's detail has gone; the detail is kept beside it."""

    detail: Detail


class MultiScale(PaddedSegmentor):
    """Any network at two scales; its features and its fused map are the context's.

    Parameters keep the network's names, `attention_head.*` joins them. Images are padded to whole
    cells of the context's logits, so that windows begin and end between two of them.
    """

    network: Segmentor
    windows_by_size = True  # where its windows lie holds for one size of images

    def __init__(self, network: Segmentor) -> None:
        logits = _trial(network)
        stride = TRIAL_SIZE // logits.shape[-1]
        if stride * logits.shape[-1] != TRIAL_SIZE:
            raise ValueError(
                f"{network.name} has logits every {TRIAL_SIZE / logits.shape[-1]:.3g} pixels; "
                "two scales expect a whole number of pixels: choose an encoder with patches of 16"
            )
        super().__init__(
            TWO_SCALES + network.name, network.encoder, network.head, size_multiple=2 * stride
        )
        for name, part in network.named_children():
            self.add_module(name, part)
        self.__dict__["network"] = network  # its parts are ours: registered, they would count twice
        self.stride = stride
        self.feature_channels = network.feature_channels
        self.fused_channels = network.fused_channels
        self.num_classes = logits.shape[1]
        width = min(network.fused_channels, ATTENTION_CHANNELS)
        self.attention_head = SegFormerHead(network.feature_channels, logits.shape[1], width)

    def forward(self, image: Tensor, window: Window | None = None) -> Segmentation:
        """image: (B, 3, H, W) -> logits at the network's stride over the whole image.

        Detail is seen in `window`, in training, and has no weight elsewhere; without one it is the
        mean of windows that overlap and cover the image.
        """
        padded = self.pad(image)
        context = self.network(half(padded))
        windows = [window] if window else slide(image.shape[-2:], self.size_multiple)
        views = torch.cat([padded[..., rows, columns] for rows, columns in windows])
        parts = self.network(views).logits.unflatten(0, (len(windows), -1))
        height, width = context.logits.shape[-2:]
        cells = [(self._cells(rows), self._cells(columns)) for rows, columns in windows]
        detail, count = paste(parts, cells, (2 * height, 2 * width))
        attention = upsample(self.attention_head(context.features)[0], (height, width)).sigmoid()
        logits = fuse(context.logits, detail, attention * (count[::2, ::2] > 0))
        maps = reached([logits, context.fused, *context.features], image, padded)
        if window is None:
            return Segmentation(maps[0], maps[2:], maps[1])
        segmentation = Detailed(maps[0], maps[2:], maps[1])
        segmentation.detail = Detail(parts[0], window)
        return segmentation

    def encode(self, image: Tensor) -> list[Tensor]:
        return self.network.features(half(image))

    def _cells(self, pixels: slice) -> slice:
        return slice(pixels.start // self.stride, pixels.stop // self.stride)


def half(image: Tensor) -> Tensor:
    """The image (B, C, H, W) at half its size."""
    return upsample(image, (image.shape[-2] // 2, image.shape[-1] // 2))


def window_side(length: int, cell: int) -> int:
    """Half a side in whole cells, one at least; all in pixels."""
    return max(-(-length // cell) // 2, 1) * cell


def slide(size: tuple[int, ...], cell: int) -> list[Window]:
    """Three by three windows that overlap and cover an image of `size` (H, W), padded to cells."""
    sides = []
    for length in size:
        side = window_side(length, cell)
        last = -(-length // cell) * cell - side
        starts = (0, last // cell // 2 * cell, last)
        sides.append([slice(start, start + side) for start in starts])
    return list(product(*sides))


def paste(parts: Tensor, windows: list[Window], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Maps (n, B, C, h, w) of n windows -> their mean on a map (B, C, *size), 0 where none is.

    Also the number of windows at each place, (*size).
    """
    total = parts.new_zeros(*parts.shape[1:3], *size)
    count = parts.new_zeros(size)
    for part, (rows, columns) in zip(parts, windows, strict=True):
        total[..., rows, columns] += part
        count[rows, columns] += 1
    return total / count.clamp(min=1), count


def fuse(context: Tensor, detail: Tensor, attention: Tensor) -> Tensor:
    """(1 - attention) * context + attention * detail -> (B, C, 2h, 2w).

    context and attention (B, C, h, w), detail (B, C, 2h, 2w); the context is weighed before it is
    enlarged, as in the paper (section 3.2).
    """
    size = detail.shape[-2:]
    return upsample((1 - attention) * context, size) + upsample(attention, size) * detail


TRIAL_SIZE = 64


@torch.no_grad()
def _trial(network: Segmentor) -> Tensor:
    """Logits of a small image: no network says its stride."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    logits = network(torch.zeros(1, 3, TRIAL_SIZE, TRIAL_SIZE, device=device)).logits
    network.train(training)
    return logits
