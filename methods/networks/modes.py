"""Modes of a network: training and evaluation, and what its batch norms do in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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


def norms_in_training(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms that take a batch's own statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]


@contextmanager
def evaluating_but_norms(model: nn.Module) -> Iterator[None]:
    """The same, but that batch norms in training stay there: nothing is dropped or drawn."""
    norms = norms_in_training(model)
    with evaluating(model):
        for norm in norms:
            norm.train()
        yield


@contextmanager
def statistics_at_rest(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """A batch moves the norms' running statistics, and their count of batches, not at all."""
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, count in kept:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
