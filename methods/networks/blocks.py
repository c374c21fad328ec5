"""The blocks of an encoder, in their order: what learns more slowly, stands still or is adapted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

_LISTS = (nn.ModuleList, nn.Sequential)


def blocks(encoder: nn.Module) -> list[nn.Module]:
    """Its blocks, from the image on: elements of a list of modules with two weights or more.

    Weights are parameters of two dimensions or more. Of blocks within blocks, such as those of a
    stage, the innermost count. Of parallel branches one comes after the other.
    """
    in_order: list[nn.Module] = []
    for child in encoder.children():
        in_order += _of_list(child) if isinstance(child, _LISTS) else blocks(child)
    return in_order


def _of_list(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if isinstance(module, _LISTS):
            yield from _of_list(module)
        elif inner := blocks(module):
            yield from inner
        elif sum(p.ndim > 1 for p in module.parameters()) > 1:
            yield module


def layers(encoder: nn.Module) -> dict[str, int]:
    """The layer of each parameter, by its name: 0 before the blocks, 1 in the first of them, ...

    What is outside of blocks, such as the norm of a stage, belongs to the one before it.
    """
    order = enumerate(blocks(encoder), start=1)
    layer_of = {id(p): number for number, block in order for p in block.parameters()}
    numbers: dict[str, int] = {}
    latest = 0
    for name, parameter in encoder.named_parameters():
        latest = layer_of.get(id(parameter), latest)
        numbers[name] = latest
    return numbers
