"""Pseudo-labels of the EMA teacher, weighted by its confidence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from methods.parts.joined import processes, total
from methods.parts.losses import upsample


class PseudoLabel(NamedTuple):
    label: Tensor  # (B, H, W) int64 train ids, every pixel has one
    weight: Tensor  # (B, H, W) in [0, 1]


@torch.no_grad()
def pseudo_labels(
    logits: Tensor,
    size: tuple[int, ...],
    threshold: float,
    ignore_top: int = 0,
    ignore_bottom: int = 0,
) -> PseudoLabel:
    """Arg max of the logits (B, C, h, w) at `size` (H, W), with one weight for the whole batch.

    The weight is the share of all the joined batch's pixels whose largest probability reaches
    `threshold`; the crop's top and bottom rows get 0. Source: DACS; DAFormer, equation 3.
    """
    probability, label = upsample(logits.float(), size).softmax(1).max(1)
    share = total((probability >= threshold).float().mean()) / processes()
    weight = share.expand_as(probability).clone()
    weight[:, :ignore_top] = 0
    if ignore_bottom:
        weight[:, -ignore_bottom:] = 0
    return PseudoLabel(label, weight)
