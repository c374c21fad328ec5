"""Stands in for `mmcv.ops`, which needs compiled code (`mmcv._ext`) that mmcv-lite lacks.

mmsegmentation imports a few names from it when it is imported. The two that plain PyTorch has are
given here; any other raises ModuleNotFoundError, which mmsegmentation takes as "not installed".
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch.nn.functional as F
from torch import Tensor


def install() -> None:
    """Put the stand-in into sys.modules, unless the real module is there."""
    import mmcv

    if "mmcv.ops" in sys.modules or find_spec("mmcv._ext") is not None:
        return
    module = ModuleType("mmcv.ops", __doc__)
    module.point_sample = point_sample  # type: ignore[attr-defined]
    module.sigmoid_focal_loss = sigmoid_focal_loss  # type: ignore[attr-defined]
    module.__getattr__ = _missing  # type: ignore[method-assign]
    sys.modules["mmcv.ops"] = mmcv.ops = module


def point_sample(
    input: Tensor, points: Tensor, align_corners: bool = False, **kwargs: Any
) -> Tensor:
    """Bilinear samples of (B, C, H, W) at points (B, P, 2) or (B, Hp, Wp, 2), in [0, 1] as x, y."""
    grid = points if points.dim() == 4 else points.unsqueeze(2)
    sampled = F.grid_sample(input, 2 * grid - 1, align_corners=align_corners, **kwargs)
    return sampled if points.dim() == 4 else sampled.squeeze(3)


def sigmoid_focal_loss(
    input: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    alpha: float = 0.25,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss of logits (N, C) against class ids (N,); an id of C is background."""
    from torchvision.ops import sigmoid_focal_loss as binary_focal_loss

    one_hot = F.one_hot(target, input.shape[1] + 1)[:, :-1].to(input.dtype)
    loss = binary_focal_loss(input, one_hot, alpha=alpha, gamma=gamma)
    if weight is not None:
        loss = loss * weight[target.clamp(max=len(weight) - 1)].unsqueeze(1)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / len(input)


def _missing(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ModuleNotFoundError(f"mmcv.ops.{name} needs the full mmcv with its compiled operators")
