"""A network of a few convolutions, where what is tested is not what a network holds."""

from __future__ import annotations

from torch import Tensor, nn

from methods.networks.zoo import NetworkSpec

NAME = "four_convolutions"


class FourConvolutions(nn.Module):
    """A strided convolution and a norm a stage -> maps at strides 4, 8, 16 and 32."""

    channels = (8, 16, 24, 32)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *self.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, wider, stride, stride), nn.BatchNorm2d(wider))
            for width, wider, stride in zip(widths, self.channels, (4, 2, 2, 2), strict=False)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        return maps


#: To be put into `zoo.NETWORKS` under NAME; its own frozen teacher.
SPEC = NetworkSpec(NAME, f"{__name__}:FourConvolutions", {}, "dlv2", larger=NAME)
