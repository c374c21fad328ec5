"""Which parameter learns how fast, and which one decays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


def reference_groups(
    method: nn.Module,
    lr: float,
    weight_decay: float,
    head_lr_factor: float,
    without: Iterable[Tensor] = (),
) -> list[dict[str, Any]]:
    """Group trainable parameters by DAFormer's rule, which goes by substrings of their names.

    A name with `head` learns `head_lr_factor` times faster and decays, its norms too; any other
    name with `norm` does not decay; biases do. Source: DAFormer's optimiser configuration.
    Parameters in `without` are another optimiser's.
    """
    head: dict[str, Any] = {"params": [], "lr": lr * head_lr_factor, "weight_decay": weight_decay}
    norm: dict[str, Any] = {"params": [], "lr": lr, "weight_decay": 0.0}
    rest: dict[str, Any] = {"params": [], "lr": lr, "weight_decay": weight_decay}
    others = {id(parameter) for parameter in without}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad and id(parameter) not in others:
            group = head if "head" in name else norm if "norm" in name else rest
            group["params"].append(parameter)
    return [group for group in (rest, norm, head) if group["params"]]
