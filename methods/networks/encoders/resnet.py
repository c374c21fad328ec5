"""The dilated ResNet of DeepLab-V2.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", TPAMI 2018, in the form that the domain adaptation
literature compares: output stride 8, deep stem, dilations 6 and 12 only.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.models import resnet as timm_resnet
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor

from methods.networks.recompute import norm_relu_conv


class Bottleneck(timm_resnet.Bottleneck):
    """timm's, without its options: results of the inner norms and ReLUs are computed again."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, c, H, W) -> (B, c', H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = norm_relu_conv(self.conv1(x), self.bn1, self.conv2)
        return self.act3(self.bn3(norm_relu_conv(inner, self.bn2, self.conv3)).add_(shortcut))


class DilatedResNet(ResNet):
    """timm's ResNet at output stride 8; the first block of a dilated stage has half its dilation.

    Only the stem is deep ("v1c"): shortcuts stay strided 1x1 convolutions. Its stages lie at
    strides 4, 8, 8 and 8.
    """

    def __init__(
        self,
        layers: Sequence[int],
        *,
        bottleneck: bool = True,
        channels: Sequence[int] = (64, 128, 256, 512),
        stem_width: int = 32,
    ) -> None:
        super().__init__(
            Bottleneck if bottleneck else BasicBlock,  # type: ignore[arg-type]
            tuple(layers),
            num_classes=0,
            output_stride=8,
            stem_width=stem_width,
            stem_type="deep",
            channels=tuple(channels),
        )
        self.channels = [stage["num_chs"] for stage in self.feature_info[1:]]

    def forward(self, image: Tensor) -> list[Tensor]:  # type: ignore[override]
        """image: (B, 3, H, W) -> one (B, c_i, h_i, w_i) map a stage, finest first."""
        x = self.maxpool(self.act1(self.bn1(self.conv1(image))))
        features = []
        for stage in range(1, len(self.channels) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            features.append(x)
        return features


def resnet50() -> DilatedResNet:
    """ResNet-50 with a deep stem at output stride 8."""
    return DilatedResNet((3, 4, 6, 3))


def resnet101() -> DilatedResNet:
    """ResNet-101 with a deep stem at output stride 8."""
    return DilatedResNet((3, 4, 23, 3))
