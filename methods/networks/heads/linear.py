"""The linear head: one scoring layer on the last map.

What a foundation encoder's features hold by themselves, and the least that a head can cost.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from methods.networks.conv import classifier


class LinearHead(nn.Module):
    """A 1x1 convolution on the last map."""

    def __init__(self, in_channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.fused_channels = in_channels[-1]
        self.conv_seg = classifier(in_channels[-1], num_classes)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Last map -> logits (B, C, h, w) at its stride, and that map as the fused one."""
        return self.conv_seg(features[-1]), features[-1]
