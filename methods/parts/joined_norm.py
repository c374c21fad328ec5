"""Batch normalisation over the joined batch of all processes, on any device.

torch's own SyncBatchNorm works on GPUs alone and knows none of timm's normalisations with an
activation in them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.parts.ema import Frozen
from methods.parts.joined import processes, rank

#: What normalises and does nothing else.
PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class JoinedNorm(_BatchNorm):
    """Takes statistics of the joined batch in training; mixed into the class of a batch norm.

    Every process must hold as many values as the others.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, ...) -> the same shape, normalised by statistics over (B * N, ...)."""
        if self.training:
            x = self.normalised(x)
        else:
            x = F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        for part in ("drop", "act"):  # of timm's
            x = getattr(self, part, nn.Identity())(x)
        return x

    def normalised(self, x: Tensor) -> Tensor:
        values = x if x.dtype == torch.float64 else x.float()
        var, mean = torch.var_mean(values, [0, *range(2, x.ndim)], correction=0)  # (C,) each
        means, variances = _Everyones.apply(torch.stack([mean, var])).unbind(1)  # (N, C) each
        mean = means.mean(0)
        var = (variances + (means - mean).square()).mean(0)
        self.keep(mean.detach(), var.detach(), x.numel() // x.shape[1] * processes())
        scale = (var + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale
        if self.affine:
            shift = shift + self.bias
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        return (x * scale.view(shape) + shift.view(shape)).to(x.dtype)

    @torch.no_grad()
    def keep(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics towards these of so many values, as torch does."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = self.momentum
        if weight is None:  # a mean over all batches
            weight = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), weight)
        self.running_var.lerp_(var.to(self.running_var) * count / max(count - 1, 1), weight)


class _Everyones(torch.autograd.Function):
    """Statistics (...) of every process: (N, ...), by rank."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        everyones = own.new_zeros(processes(), *own.shape)
        everyones[rank()] = own
        dist.all_reduce(everyones)
        return everyones

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[rank()]


def join_norms(method: nn.Module) -> list[str]:
    """Let every batch norm of what learns take its statistics of the joined batch.

    Names of the classes that cannot, and are left as they are.
    """
    # Not a decorator: it imports torch's compiler, 75 MiB and seconds, wherever this module is.
    by_itself = torch.compiler.disable(JoinedNorm.normalised)
    frozen = {id(m) for f in method.modules() if isinstance(f, Frozen) for m in f.modules()}
    left = set()
    for module in method.modules():
        if not isinstance(module, _BatchNorm) or id(module) in frozen:
            continue
        cls = type(module)
        with_activation = all(
            isinstance(getattr(module, n, None), nn.Module) for n in ("drop", "act")
        )
        if cls in PLAIN or with_activation:
            module.__class__ = type(
                f"Joined{cls.__name__}", (JoinedNorm, cls), {"normalised": by_itself}
            )
        else:
            left.add(cls.__name__)
    return sorted(left)
