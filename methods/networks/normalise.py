"""From ImageNet's mean and deviation, which every batch is normalised by, to a network's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Of red, green and blue in 0..1. timm has them too, and is imported in seconds.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Renormalise(nn.Module):
    """An image (B, 3, H, W) from one mean and deviation of its channels to another's.

    The same colours stay the same, so that zeros from padding remain the first one's mean colour.
    Its constants are no parameters and in no file: they belong to the network's name.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        new_mean: Sequence[float],
        new_std: Sequence[float],
    ) -> None:
        super().__init__()
        deviation = torch.tensor(new_std)
        scale = torch.tensor(std) / deviation
        shift = (torch.tensor(mean) - torch.tensor(new_mean)) / deviation
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return torch.addcmul(self.shift, image, self.scale)


def renormalisation(mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """From ImageNet's mean and deviation to these, of channels in 0..1; nothing where they are."""
    same = (tuple(mean), tuple(std)) == (IMAGENET_MEAN, IMAGENET_STD)
    if same or len(mean) != 3:
        return nn.Identity()
    return Renormalise(IMAGENET_MEAN, IMAGENET_STD, mean, std)
