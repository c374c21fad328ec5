"""The joined batch: what all processes of a training hold together, each some rows of it.

With N processes that of rank r holds rows r, r + N, r + 2N, ... A method draws for the joined
batch, from a generator that is the same in every process, and takes its own rows of the draw; what
it counts or averages over a batch, it does over the joined one. So N processes compute what one
would. In a process of its own each function here gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

#: Bytes that are sent at a time: enough for a link's full speed. Source: DDP's default.
BUCKET = 25 * 2**20


def processes() -> int:
    """How many train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def own_rows(joined: Any) -> Any:
    """This process's rows of a tensor (B * N, ...) or list of the joined batch."""
    return joined[rank() :: processes()]


@torch.no_grad()
def gathered(rows: Tensor) -> Tensor:
    """The joined batch's rows (B * N, ...) of every process's (B, ...); without gradients."""
    if processes() == 1:
        return rows
    parts = [
        torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(processes())
    ]
    dist.all_gather(parts, rows.contiguous())
    return torch.stack(parts, 1).flatten(0, 1)


@torch.no_grad()
def total(value: Tensor) -> Tensor:
    """Its sum over the processes; without gradients."""
    if processes() == 1:
        return value
    value = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(value)
    return value


def mean_over(values: Tensor, kept: Tensor) -> Tensor:
    """Mean of values, any shape, over those that are kept: 0 where the joined batch keeps none.

    `kept` holds True or False, or weights. Its mean over the processes is the joined batch's.
    """
    count = total(kept.sum()).clamp(min=1) / processes()
    return (values * kept).sum() / count


def average_(tensors: Sequence[Tensor]) -> None:
    """Set tensors to their mean over the processes, many of them sent at a time."""
    if processes() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        dist.all_reduce(flat)
        flat /= processes()
        parts = flat.split([tensor.numel() for tensor in bucket])
        for tensor, part in zip(bucket, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in groups of one type and of BUCKET bytes, or little more."""
    bucket: list[Tensor] = []
    for tensor in sorted(tensors, key=lambda t: str(t.dtype)):  # stable: alike in every process
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.nbytes for t in bucket) >= BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Set the gradients of parameters to their mean over the processes.

    A parameter that learnt in some processes alone has a gradient of 0 in the others.
    """
    if processes() == 1:
        return
    learnt = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
    dist.all_reduce(learnt, dist.ReduceOp.MAX)
    learning = [p for p, somewhere in zip(parameters, learnt.tolist(), strict=True) if somewhere]
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    average_([p.grad for p in learning if p.grad is not None])
