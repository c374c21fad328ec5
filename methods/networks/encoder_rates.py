"""Learning rates of encoders: a share of the others', less with every block towards the image."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from methods.networks.blocks import layers


def with_encoder_rates(
    groups: list[dict[str, Any]], method: nn.Module, factor: float, decay: float
) -> list[dict[str, Any]]:
    """The groups, those of encoders split so that their parameters learn at lower rates.

    A group's rate is multiplied by `factor`, and by `decay` for every layer from the parameter's to
    the head: once in an encoder's last block. Source of the decay: BEiT's fine-tuning, by timm's
    layers. Both at 1 leave the groups as they are.
    """
    if factor == decay == 1:
        return groups
    shares: dict[int, float] = {}
    for module in method.modules():
        encoder = getattr(module, "encoder", None)
        if isinstance(encoder, nn.Module):
            numbers = layers(encoder)
            of_head = max(numbers.values(), default=0) + 1
            for name, parameter in encoder.named_parameters():
                shares[id(parameter)] = factor * decay ** (of_head - numbers[name])
    split = []
    for group in groups:
        by_share: dict[float, list[Tensor]] = {}
        for parameter in group["params"]:
            by_share.setdefault(shares.get(id(parameter), 1.0), []).append(parameter)
        split += [
            {**group, "params": parameters, "lr": group["lr"] * share}
            for share, parameters in by_share.items()
        ]
    return split
