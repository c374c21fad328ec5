"""DAFormer's context-aware fusion head.

Source: Hoyer et al., "DAFormer: Improving Network Architectures and Training Strategies for
Domain-Adaptive Semantic Segmentation", CVPR 2022, section 3.2. Parameters are named as in its
published checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from methods.networks.conv import (
    ConvBNReLU,
    LinearEmbedding,
    SeparableConvBNReLU,
    classifier,
    concatenated,
    inference_on_cpu,
    norm_relu_,
    pointwise,
    pointwise_of_embedded,
    resize_to,
)
from methods.networks.depthwise import Frames

#: Channels at a time where no gradient is wanted: 16 MiB of a map of 128x256.
SLICE = 128


class SeparableASPP(nn.Module):
    """Parallel branches of growing dilation (1 is a plain 1x1), fused by a 3x3 bottleneck."""

    def __init__(self, in_channels: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.aspp_modules = nn.ModuleList(
            ConvBNReLU(in_channels, channels)
            if dilation == 1
            else SeparableConvBNReLU(in_channels, channels, dilation)
            for dilation in dilations
        )
        self.bottleneck = ConvBNReLU(len(dilations) * channels, channels, 3)

    def forward(self, features: list[Tensor], embeddings: Sequence[LinearEmbedding]) -> Tensor:
        """features: (B, c_i, h_i, w_i), the finest first -> (B, channels, h, w), of its size.

        Each is embedded and resized to the finest; the branches see their concatenation.
        """
        finest = features[0]
        if inference_on_cpu(self, finest):
            plain = partial(
                pointwise_of_embedded, embeddings=embeddings, features=features, like=finest
            )
            separable = self._separable_in_slices(features, embeddings)
        else:
            maps = [embed(x) for embed, x in zip(embeddings, features, strict=True)]
            plain = partial(pointwise, maps=maps, like=finest)
            x = torch.cat([resize_to(one, finest) for one in maps], dim=1)
            separable = (branch(x) for branch in self._separable())
        branches = [
            norm_relu_(branch.bn, plain(branch.conv))
            if isinstance(branch, ConvBNReLU)
            else next(separable)
            for branch in self.aspp_modules
        ]
        return norm_relu_(self.bottleneck.bn, concatenated(self.bottleneck.conv, branches))

    def _separable(self) -> list[SeparableConvBNReLU]:
        return [b for b in self.aspp_modules if isinstance(b, SeparableConvBNReLU)]

    def _separable_in_slices(
        self, features: list[Tensor], embeddings: Sequence[LinearEmbedding]
    ) -> Iterator[Tensor]:
        """The separable branches, a few channels of the embedded features at a time.

        Embedded features and their concatenation (128 MiB of an image of 512x1024) are never made,
        and the C library keeps blocks below 32 MiB; larger ones cost a page fault every 4 KiB.
        """
        sums: list[Tensor | None] = [None for _ in self._separable()]
        frames: Frames = {}
        stop = 0
        for embed, x in zip(embeddings, features, strict=True):
            for part in embed.in_slices(x, SLICE):
                channels = slice(stop, stop := stop + part.shape[1])
                narrow = resize_to(part, features[0])
                sums = [
                    branch.of_slice(narrow, channels, total, frames)
                    for branch, total in zip(self._separable(), sums, strict=True)
                ]
        images, _, height, width = features[0].shape
        for branch, total in zip(self._separable(), sums, strict=True):
            assert total is not None
            whole = total.view(images, height, width, -1).permute(0, 3, 1, 2)
            yield norm_relu_(branch.pointwise_conv.bn, whole)


class DAFormerHead(nn.Module):
    """Linear embedding of every stage, upsampled to the finest, concatenated, separable ASPP."""

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 256,
        dilations: Sequence[int] = (1, 6, 12, 18),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.fused_channels = channels
        self.embed_layers = nn.ModuleList(LinearEmbedding(c, channels) for c in in_channels)
        self.fuse_layer = SeparableASPP(len(in_channels) * channels, channels, dilations)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = classifier(channels, num_classes)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Finest map at stride 4 -> logits (B, C, h, w) and fused (B, channels, h, w) there."""
        fused = self.fuse_layer(features, list(self.embed_layers))
        return self.conv_seg(self.dropout(fused)), fused
