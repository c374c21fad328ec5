"""Modes of a network: training and evaluation, and what it keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode; every module gets back the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def set_checkpointing(network: nn.Module, on: bool) -> None:
    """Let the network's encoder keep its blocks' inputs alone, and compute the rest again.

    Results are bit-equal, random draws included; every block's forward is computed twice. Raises
    ValueError for an encoder that cannot.
    """
    encoders = [m for m in network.modules() if hasattr(m, "checkpointing")]
    if not encoders:
        name = getattr(network, "name", type(network).__name__)
        raise ValueError(
            f"{name} cannot checkpoint its activations: expected a network whose encoder is a Mix "
            "Transformer"
        )
    for encoder in encoders:
        setattr(encoder, "checkpointing", on)  # noqa: B010  (to mypy a module's attributes are tensors)
