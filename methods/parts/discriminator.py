"""The fully convolutional discriminator of output-space adaptation."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

#: Five halvings leave one score of this many pixels a side.
CELL = 32


class Discriminator(nn.Sequential):
    """Five 4x4 convolutions of stride 2; LeakyReLU of slope 0.2 between them.

    The first has `width` channels, each of the next three twice as many, the last gives one score
    a cell, without a sigmoid. Source: AdaptSegNet, section 4 (width 64).
    """

    def __init__(self, in_channels: int, width: int = 64) -> None:
        channels = (in_channels, width, 2 * width, 4 * width, 8 * width)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(channels):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(channels[-1], 1, 4, 2, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (B, C, H, W) -> scores (B, 1, H / 32, W / 32); a shorter side counts as 32."""
        height, width = maps.shape[-2:]
        return super().forward(F.pad(maps, (0, max(0, CELL - width), 0, max(0, CELL - height))))
