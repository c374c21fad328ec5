"""A network's size: parameters and floating-point operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.networks.modes import evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn


def parameters_m(module: nn.Module) -> float:
    """Parameters in millions; shared ones count once, buffers not at all."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def gflops(model: nn.Module, size: tuple[int, int]) -> float:
    """10^9 floating-point operations of one forward pass of a (1, 3, *size) image.

    Counted by torch's FlopCounterMode: matrix products, convolutions and attention, a
    multiply-add as TWO operations. Papers that count multiply-adds once print half of it.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), counter:
        model(torch.zeros(1, 3, *size, device=_device_of(model)))
    return counter.get_total_flops() / 1e9


def _device_of(model: nn.Module) -> torch.device | str:
    return next((parameter.device for parameter in model.parameters()), "cpu")
