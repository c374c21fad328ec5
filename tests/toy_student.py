"""What tests of methods share: a student to work out by hand, a batch, all terms of a step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.contract import IGNORE, Batch, Method, Segmentation


class Toy(nn.Module):
    """Two classes: the logits are (slope * first channel, 0) at full resolution."""

    name = "toy"
    num_classes = 2
    feature_channels = (3,)
    fused_channels = 3

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, image: Tensor) -> Segmentation:
        logits = torch.stack([self.slope * image[:, 0], torch.zeros_like(image[:, 0])], 1)
        return Segmentation(logits, [image], image)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blocky_batch(height: int = 32, width: int = 64, ignored_rows: int = 0) -> Batch:
    """Two random images a domain; labels in blocks of 8 x 8, so that cells have a majority."""
    source, target = torch.randn(2, 2, 3, height, width, generator=generator(1))
    label = torch.randint(0, 19, (2, height // 8, width // 8), generator=generator(2))
    label = label.repeat_interleave(8, 1).repeat_interleave(8, 2)
    label[:, :ignored_rows] = IGNORE
    return Batch(source, label, target)


def terms(method: Method, batch: Batch, step: int = 0) -> dict[str, Tensor]:
    return {name: value for group in method.losses(batch, step) for name, value in group.items()}
