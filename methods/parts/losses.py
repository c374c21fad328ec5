"""Losses on logits and labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from methods.contract import IGNORE


def cross_entropy(
    logits: Tensor, label: Tensor, weight: Tensor | None = None, stride: int = 1
) -> Tensor:
    """Pixel-wise cross-entropy, its mean taken over ALL pixels, ignored ones included.

    logits (B, C, h, w) are resized bilinearly to the label's size; label (B, H, W) with 255 for
    ignored pixels; weight (B, H, W) multiplies each pixel's loss and is not normalised. `stride`
    compares at 1/stride of the label's resolution, which it subsamples. Source: DAFormer's code.
    """
    if stride > 1:
        label = label[:, ::stride, ::stride]
        weight = None if weight is None else weight[:, ::stride, ::stride]
    logits = upsample(logits, label.shape[-2:])
    loss = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")  # (B, H, W)
    return (loss if weight is None else loss * weight).mean()


def upsample(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to size (H, W), corners not aligned."""
    if maps.shape[-2:] == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def charbonnier(x: Tensor, eta: float, epsilon: float = 1e-3) -> Tensor:
    """Robust penalty (x^2 + epsilon^2)^eta of each element. Source: FDA, section 3.2."""
    return (x.square() + epsilon**2) ** eta
