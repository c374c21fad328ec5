"""Parts of an encoder that stand still while the rest learns."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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
    frozen = {name for name, number in layers(encoder).items() if number <= last}
    for name in frozen:
        encoder.get_parameter(name).requires_grad_(False)
    hold(encoder, frozen)


def hold_statistics(network: Segmentor) -> bool:
    """Let the encoder's batch norms normalise by the statistics that they have, which never move.

    Their scale and shift learn. mmsegmentation's norm_eval. False where there are no such norms.
    """
    norms: list[Any] = [m for m in network.encoder.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        norm.stands_still = True
        norm.eval()
    return bool(norms)


def hold(encoder: nn.Module, frozen: Collection[str]) -> None:
    """Mark every module all of whose parameters are `frozen`: it stays in eval mode from now on.

    Others may have none that learn by design, such as a norm of fixed scale: they go on as before.
    """
    for prefix, module in encoder.named_modules():
        names = [f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters()]
        if names and all(name in frozen for name in names):
            module.stands_still = True
            module.eval()


def stands_still(module: nn.Module) -> bool:
    """Whether one of these has marked it."""
    return bool(getattr(module, "stands_still", False))
