"""Parts of an encoder that stand still while the rest learns."""

from __future__ import annotations

from torch import nn

from methods.contract import Segmentor
from methods.networks.blocks import blocks, layers


def freeze(network: Segmentor, first: int | str) -> None:
    """Let the encoder's first blocks, and what lies before them, or "all" of it stand still.

    Their norms keep to running statistics too, and their dropout rests. ValueError where the
    encoder has fewer blocks.
    """
    encoder = network.encoder
    count = len(blocks(encoder))
    last = count if first == "all" else int(first)
    if last > count:
        raise ValueError(
            f"freeze_encoder={first}: the encoder of {network.name} has {count} blocks; expected "
            "that many at most, or all"
        )
    numbers = layers(encoder)
    for name, parameter in encoder.named_parameters():
        if numbers[name] <= last:
            parameter.requires_grad_(False)
    hold(encoder)


def hold(encoder: nn.Module) -> None:
    """Mark every module none of whose parameters learns: it stays in eval mode from now on."""
    for module in encoder.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.stands_still = True  # type: ignore[assignment]
            module.eval()


def stands_still(module: nn.Module) -> bool:
    """Whether `hold` has marked it."""
    return bool(getattr(module, "stands_still", False))
