"""A network's size: parameters and floating-point operations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
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

    The same wherever the model lies: it is counted on tensors without storage, and on the
    model's own device only if it can do without them. Fused kernels that the counter does not
    know (attention on a CPU, torch's own encoder layers) are replaced by their matrix products.
    """
    import torch
    from torch.func import functional_call

    tensors = itertools.chain(
        model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
    )
    meta = {name: tensor.to("meta") for name, tensor in tensors}
    with evaluating(model):
        try:
            image = torch.zeros(1, 3, *size, device="meta")
            return _forward(lambda: functional_call(model, meta, (image,), tie_weights=False))
        except (RuntimeError, NotImplementedError):  # it computes with values or plain tensors
            image = torch.zeros(1, 3, *size, device=_device_of(model))
            return _forward(lambda: model(image))


def _forward(call: Callable[[], object]) -> float:
    import torch

    with torch.no_grad():
        return counted(call)


def counted(call: Callable[[], object]) -> float:
    """10^9 floating-point operations of what is called, backward passes in it too."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), counter:
            call()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / 1e9


def _device_of(model: nn.Module) -> torch.device | str:
    return next((parameter.device for parameter in model.parameters()), "cpu")
