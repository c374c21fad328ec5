"""The head of DeepLab-V2: dilated classifiers, summed.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", TPAMI 2018, in the form that the domain adaptation
literature compares: output stride 8, deep stem, dilations 6 and 12 only.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from methods.networks.conv import classifier


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
        first, *others = (branch(features[-1]) for branch in self.aspp_modules)
        return sum(others, start=first), features[-1]
