"""A segmentation network out of an encoder and a head."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.contract import Segmentation, Segmentor
from methods.networks.freezing import stands_still


class PaddedSegmentor(Segmentor):
    """Takes images of any size. Subclasses write `encode` and `decode`.

    An encoder that takes only multiples of `size_multiple`, or no side below `min_size`, sees the
    image padded with zeros (the mean colour) on the right and at the bottom, and its maps are
    cropped to the cells that the image reaches.
    """

    def __init__(
        self,
        name: str,
        encoder: nn.Module,
        head: nn.Module,
        *,
        size_multiple: int = 1,
        min_size: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        self.encoder = encoder
        self.head = head
        self.size_multiple = size_multiple
        self.min_size = min_size

    def train(self, mode: bool = True) -> PaddedSegmentor:
        """As usual, but for what stands still (methods/networks/freezing.py): it evaluates."""
        super().train(mode)
        for module in self.modules():
            if stands_still(module):
                module.eval()
        return self

    def encode(self, image: Tensor) -> list[Tensor]:
        """image: (B, 3, H, W) of a size that fits -> one map a stage, finest first."""
        raise NotImplementedError

    def decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """features -> logits (B, C, h, w), fused (B, c, h, w)."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Segmentation:
        """image: (B, 3, H, W), any H and W -> logits at the head's stride, features, fused map."""
        padded = self.pad(image)
        features = self.encode(padded)
        # A head that makes finer maps knows where within a cell the image ends.
        upsamples = getattr(self.head, "upsamples", False)
        if not upsamples:
            features = reached(features, image, padded)
        logits, fused = self.decode(features)
        if upsamples:
            features = reached(features, image, padded)
            logits, fused = reached([logits, fused], image, padded)
        return Segmentation(logits, features, fused)

    def features(self, image: Tensor) -> list[Tensor]:
        """image: (B, 3, H, W), any H and W -> one map a stage, without the cost of the head."""
        padded = self.pad(image)
        return reached(self.encode(padded), image, padded)

    def pad(self, image: Tensor) -> Tensor:
        """The image as the encoder takes it; itself where its size fits."""
        height, width = image.shape[2:]
        padded_height, padded_width = self._padded(height), self._padded(width)
        fits = (padded_height, padded_width) == (height, width)
        # A graph made of this must serve every size: where sides must be multiples, the padding of
        # none stays in it. One that needs `min_size` alone is made for sides that have it.
        if fits and not (torch.compiler.is_compiling() and self.size_multiple > 1):
            return image
        return F.pad(image, (0, padded_width - width, 0, padded_height - height))

    def _padded(self, side: int) -> int:
        return math.ceil(max(side, self.min_size) / self.size_multiple) * self.size_multiple


def reached(maps: list[Tensor], image: Tensor, padded: Tensor) -> list[Tensor]:
    """Maps of a padded image, cropped to the cells that the image itself reaches."""
    if padded is image:
        return maps
    (height, width), (padded_height, padded_width) = image.shape[2:], padded.shape[2:]
    return [
        _crop(
            x,
            math.ceil(x.shape[2] * height / padded_height),
            math.ceil(x.shape[3] * width / padded_width),
        )
        for x in maps
    ]


def _crop(x: Tensor, height: int, width: int) -> Tensor:
    # A slice would do, but an export cannot tell how long one is whose end depends on the input.
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))


class EncoderDecoder(PaddedSegmentor):
    """An encoder that says its `channels`, and a head that says its `fused_channels`."""

    def __init__(self, name: str, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__(
            name,
            encoder,
            head,
            size_multiple=getattr(encoder, "size_multiple", 1),
            min_size=getattr(encoder, "min_size", 1),
        )
        self.feature_channels = cast("list[int]", encoder.channels)
        self.fused_channels = cast(int, head.fused_channels)

    def forward(self, image: Tensor) -> Segmentation:
        """As usual, but logits at stride 1 where the encoder's cells lie on the image's corners.

        Whoever resizes logits takes their cells to lie within the image, as everyone's else do.
        """
        output = super().forward(image)
        if not getattr(self.encoder, "cells_on_corners", False):
            return output
        size = image.shape[2:]
        logits = F.interpolate(output.logits, size, mode="bilinear", align_corners=True)
        return output._replace(logits=logits)

    def encode(self, image: Tensor) -> list[Tensor]:
        return self.encoder(image)

    def decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        return self.head(features)
