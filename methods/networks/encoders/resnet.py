"""The dilated ResNets of DeepLab-V2.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", TPAMI 2018, in the form that the domain adaptation
literature compares: output stride 8, deep stem, dilations 6 and 12 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from timm.models import resnet as timm_resnet
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from methods.networks import winograd
from methods.networks.checkpoint_shells import State
from methods.networks.eager import plain_on_cpu
from methods.networks.normalise import renormalisation
from methods.networks.recompute import norm_relu_conv

#: Red, green and blue of 0..255 that Caffe's ResNets subtract, and divide by nothing.
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)


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
        **timm_args: Any,
    ) -> None:
        super().__init__(
            Bottleneck if bottleneck else BasicBlock,  # type: ignore[arg-type]
            tuple(layers),
            num_classes=0,
            output_stride=8,
            stem_width=stem_width,
            channels=tuple(channels),
            **{"stem_type": "deep", **timm_args},
        )
        self.channels = [stage["num_chs"] for stage in self.feature_info[1:]]

    def forward(self, image: Tensor) -> list[Tensor]:  # type: ignore[override]
        """image: (B, 3, H, W) -> one (B, c_i, h_i, w_i) map a stage, finest first."""
        x = self.maxpool(self.act1(self.bn1(self.conv1(_laid_out(image)))))
        features = []
        for stage in range(1, len(self.channels) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            features.append(x)
        return features


def _laid_out(image: Tensor) -> Tensor:
    """The image (B, 3, H, W) as a CPU is fastest with its maps, at stride 8: channels last.

    Norms by the batch take half the time so, and Winograd's way needs no transposition. Sums over a
    few cells are exacter in the other order, and no slower.
    """
    if plain_on_cpu(image) and image[:, 0].numel() >= 8 * 8 * winograd.FEWEST_CELLS:
        return image.contiguous(memory_format=torch.channels_last)
    return image


class CaffeResNet(DilatedResNet):
    """The ResNet that AdaptSegNet and ADVENT publish, which comes from Caffe.

    A plain 7x7 stem, pooling that rounds sizes up, a stage's stride in its first 1x1 convolution,
    one dilation a stage; norms whose scale and shift do not learn. Images are blue, green, red of
    0..255 less a mean colour. Source: AdaptSegNet's code (model/deeplab_multi.py).
    """

    #: Its first and last cells lie on the image's corners, every other 8 pixels from the next.
    cells_on_corners = True

    def __init__(
        self, layers: Sequence[int], channels: Sequence[int] = (64, 128, 256, 512)
    ) -> None:
        # Zero, as timm would have it, the last scale of a block would stay.
        super().__init__(layers, channels=channels, stem_type="", zero_init_last=False)
        self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)  # type: ignore[assignment]
        for name, stride in (("layer2.0.conv1", 2), ("layer2.0.conv2", 1)):
            cast("nn.Conv2d", self.get_submodule(name)).stride = (stride, stride)
        for name, dilation in (("layer3.0.conv2", 2), ("layer4.0.conv2", 4)):
            conv = cast("nn.Conv2d", self.get_submodule(name))
            conv.dilation = conv.padding = (dilation, dilation)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        self.renormalise = renormalisation([c / 255 for c in CAFFE_MEAN], [1 / 255] * 3)

    def forward(self, image: Tensor) -> list[Tensor]:  # type: ignore[override]
        """image: (B, 3, H, W) -> one (B, c_i, h_i, w_i) map a stage, finest first."""
        return super().forward(self.renormalise(image).flip(1))

    def from_published(self, state: State) -> None:
        """ValueError for an image classifier of torch: the same names, other colours and strides.

        Every file that fits has the encoder's own names: none needs a reading.
        """
        if "fc.weight" in state:
            raise ValueError(
                "is an image classifier by torchvision or timm, which sees other colours than this "
                "network; expected weights from Caffe, such as AdaptSegNet's "
                "DeepLab_resnet_pretrained_init-f81d91e8.pth"
            )


def resnet50() -> DilatedResNet:
    """ResNet-50 with a deep stem at output stride 8."""
    return DilatedResNet((3, 4, 6, 3))


def resnet101() -> DilatedResNet:
    """ResNet-101 with a deep stem at output stride 8."""
    return DilatedResNet((3, 4, 23, 3))
