"""From maps of one stride, as a plain ViT gives them, to finer ones.

Sources: the transposed convolutions, each twice the sides and half the channels, are VFM-UDA's
(Englert and others, CVPR workshops 2024); four maps at four times, twice, once and half the sides
are the simple feature pyramid of ViTDet (Li and others, ECCV 2022), here light: a finer map has
fewer channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from methods.networks.conv import ConvBNReLU, classifier


def finer(channels: int, times: int) -> nn.Sequential:
    """(B, c, h, w) -> (B, c / 2^times, 2^times h, 2^times w), by transposed convolutions."""
    layers: list[nn.Module] = []
    for _ in range(times):
        half = max(channels // 2, 1)
        layers += [nn.ConvTranspose2d(channels, half, 2, 2), nn.GELU()]
        channels = half
    return nn.Sequential(*layers[:-1])


class UpsampleHead(nn.Module):
    """VFM-UDA's head: the last map at four times its sides, a 3x3 and the classifier."""

    #: Its outputs are finer than the maps it reads.
    upsamples = True

    def __init__(self, in_channels: Sequence[int], num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        channels = max(in_channels[-1] // 4, 1)
        self.fused_channels = channels
        self.upsample = finer(in_channels[-1], 2)
        self.smooth = ConvBNReLU(channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = classifier(channels, num_classes)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Last map (B, c, h, w) -> logits (B, C, 4h, 4w) and fused (B, c / 4, 4h, 4w)."""
        fused = self.smooth(self.upsample(features[-1]))
        return self.conv_seg(self.dropout(fused)), fused


class PyramidHead(nn.Module):
    """A head that fuses maps of several strides, on a pyramid made of maps of one.

    The first of the maps, the shallowest, becomes the finest: four times its sides, the others
    twice, once and half. With fewer than four maps the coarser levels are left out.
    """

    upsamples = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        make_head: Callable[..., nn.Module],
        **head_args: object,
    ) -> None:
        """`make_head` is called with `in_channels`, `num_classes` and the further arguments."""
        super().__init__()
        levels = [finer(in_channels[0], 2)]
        channels = [max(in_channels[0] // 4, 1)]
        if in_channels[1:]:
            levels.append(finer(in_channels[1], 1))
            channels.append(max(in_channels[1] // 2, 1))
        others = [nn.Identity(), nn.MaxPool2d(2, ceil_mode=True)][: len(in_channels[2:])]
        self.pyramid = nn.ModuleList([*levels, *others])
        self.fusion = make_head(
            in_channels=[*channels, *in_channels[2:]], num_classes=num_classes, **head_args
        )
        self.fused_channels: int = self.fusion.fused_channels  # type: ignore[assignment]

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps (B, c, h, w) -> logits (B, C, 4h, 4w) and the fused map there."""
        return self.fusion([level(x) for level, x in zip(self.pyramid, features, strict=True)])
