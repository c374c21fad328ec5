"""Several networks that answer as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.contract import Segmentation, Segmentor
from methods.networks.names import AND
from methods.parts.losses import upsample


class Ensemble(Segmentor):
    """The mean of several networks' probabilities; its name, NAME, NAME, builds it again."""

    def __init__(self, networks: Sequence[Segmentor]) -> None:
        super().__init__()
        self.name = AND.join(network.name for network in networks)
        self.networks = nn.ModuleList(networks)
        self.feature_channels = networks[0].feature_channels
        self.fused_channels = networks[0].fused_channels
        self.num_classes = networks[0].num_classes

    def forward(self, image: Tensor) -> Segmentation:
        """Logits at the first network's stride; the maps are the first network's."""
        first, *others = (network(image) for network in self.networks)
        size = first.logits.shape[-2:]
        answers = [upsample(output.logits.float(), size) for output in (first, *others)]
        mean = torch.stack([logits.softmax(1) for logits in answers]).mean(0)
        smallest = torch.finfo(mean.dtype).tiny
        return first._replace(logits=mean.clamp(min=smallest).log())
