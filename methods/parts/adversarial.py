"""Adversarial training: the loss of either side, and which of the two learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAN = Literal["vanilla", "ls"]

#: What the discriminator is to answer. Source: AdaptSegNet's code.
SOURCE, TARGET = 0.0, 1.0


def gan_loss(scores: Tensor, domain: float, gan: GAN) -> Tensor:
    """How far the discriminator's scores (any shape) are from SOURCE or TARGET, their mean.

    `vanilla`: cross-entropy of the score's sigmoid; `ls`: squared distance (least squares).
    """
    scores = scores.float()
    wanted = torch.full_like(scores, domain)
    if gan == "ls":
        return F.mse_loss(scores, wanted)
    return F.binary_cross_entropy_with_logits(scores, wanted)


@contextmanager
def held_fixed(network: nn.Module) -> Iterator[None]:
    """What is computed inside sends gradients through the network, and none into it."""
    learning = [p for p in network.parameters() if p.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
