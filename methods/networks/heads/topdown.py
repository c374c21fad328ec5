"""A light head for the tiny profiles [ours]: stages summed from the coarsest to the finest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from methods.networks.conv import ConvBNReLU, classifier, resize_to


class TopDownHead(nn.Module):
    """Each stage is projected by a 1x1, added to the coarser sum, smoothed by a depthwise 3x3."""

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.fused_channels = channels
        self.project = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in in_channels)
        self.smooth = nn.ModuleList(
            ConvBNReLU(channels, channels, 3, groups=channels) for _ in in_channels
        )
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = classifier(channels, num_classes)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Finest map at stride 4 -> logits (B, C, h, w) and fused (B, channels, h, w) there."""
        fused: Tensor | None = None
        stages = zip(features, self.project, self.smooth, strict=True)
        for feature, project, smooth in reversed(list(stages)):
            x = project(feature)
            fused = smooth(x if fused is None else x + resize_to(fused, x))
        assert fused is not None
        return self.conv_seg(self.dropout(fused)), fused
