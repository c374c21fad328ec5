"""Activations that the backward pass computes again instead of keeping.

On a CPU what is elementwise always is (`gelu_linear`, `norm_relu_conv`): it costs far less than the
product that needs it. On other devices, in a recorded graph and under autocast the modules are
called one after the other. By choice whole blocks of an encoder are, anywhere
(`checkpoint_blocks`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, noop_context_fn

from methods.networks import winograd
from methods.networks.blocks import blocks
from methods.networks.eager import plain_on_cpu
from methods.networks.modes import norms_in_training, statistics_at_rest
from methods.networks.segmentor import PaddedSegmentor


def checkpoint_blocks(network: nn.Module, compiled: bool = False) -> None:
    """Let the blocks of the network's encoder keep their inputs alone for the backward pass.

    The rest of them is computed again there: every block's forward runs twice. Results are
    bit-equal, random draws and running statistics included. Raises ValueError for an encoder
    without blocks, and for one with BatchNorm that is going to be compiled: torch's compiler takes
    no second pass of a block that differs from the first.
    """
    encoders = [m.encoder for m in network.modules() if isinstance(m, PaddedSegmentor)]
    found = [block for encoder in encoders for block in blocks(encoder)]
    cannot = f"{getattr(network, 'name', type(network).__name__)} cannot checkpoint its activations"
    if not found:
        raise ValueError(f"{cannot}: expected a network whose encoder is made of blocks")
    if compiled and any(isinstance(m, _BatchNorm) for block in found for m in block.modules()):
        raise ValueError(f"{cannot} when compiled, as it has BatchNorm: expected compile=off")
    for block in found:
        block.forward = partial(_again_in_backward, block)


def _again_in_backward(block: nn.Module, *inputs: Any, **named: Any) -> Any:
    forward = partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    norms = norms_in_training(block)

    def first_and_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_at_rest(norms)  # a second time the same batch

    contexts = first_and_again if norms else noop_context_fn
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **named)


def gelu_linear(x: Tensor, linear: nn.Linear) -> Tensor:
    """linear(gelu(x)) of x (B, N, C); what GELU gives is not kept."""
    if not _worth_it(x):
        return linear(F.gelu(x))
    return _GeluLinear.apply(x, linear.weight, linear.bias)


def norm_relu_conv(x: Tensor, bn: nn.Module, conv: nn.Conv2d) -> Tensor:
    """conv(relu(bn(x))) of x (B, C, H, W); in training what the norm and ReLU give is not kept."""
    if (
        not (type(bn) is nn.BatchNorm2d and _of_the_batch(bn) and _worth_it(x))
        or conv.bias is not None
    ):
        return winograd.convolution(F.relu_(bn(x)), conv)
    if bn.num_batches_tracked is not None:
        bn.num_batches_tracked.add_(1)
    return _NormReLUConv.apply(x, bn.weight, bn.bias, conv.weight, bn, conv)


def _of_the_batch(bn: nn.BatchNorm2d) -> bool:
    """Whether it norms by the batch's own statistics, and moves its running ones as usual."""
    return bn.training and bn.track_running_stats and bn.momentum is not None


def _worth_it(x: Tensor) -> bool:
    return torch.is_grad_enabled() and plain_on_cpu(x)


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)  # (B * N, out)
        of_weight = rows.T @ F.gelu(x).flatten(0, -2)
        of_x = torch.ops.aten.gelu_backward((rows @ weight).view_as(x), x)
        return of_x, of_weight, rows.sum(0)


class _NormReLUConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        bn: nn.BatchNorm2d,
        conv: nn.Conv2d,
    ) -> Tensor:
        momentum = bn.momentum or 0.0
        y, mean, inverse_std = torch.native_batch_norm(
            x, scale, shift, bn.running_mean, bn.running_var, True, momentum, bn.eps
        )
        ctx.save_for_backward(x, scale, shift, weight, mean, inverse_std)
        ctx.eps = bn.eps
        ctx.conv = (list(conv.stride), list(conv.padding), list(conv.dilation))
        ctx.groups = conv.groups
        y = F.relu_(y)
        ctx.winograd = winograd.worth_it([y], conv)
        if ctx.winograd:
            return winograd.forward([y], weight, conv.dilation[0])
        stride, padding, dilation = ctx.conv
        return F.conv2d(y, weight, None, stride, padding, dilation, conv.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, weight, mean, inverse_std = ctx.saved_tensors
        # Of the batch's own mean and variance, given as if they were running ones.
        variance = inverse_std.pow(-2) - ctx.eps
        y = F.relu_(F.batch_norm(x, mean, variance, scale, shift, eps=ctx.eps))
        if ctx.winograd:
            (of_y,), of_weight = winograd.gradients([y], weight, gradient, ctx.conv[2][0])
        else:
            of_y, of_weight, _ = torch.ops.aten.convolution_backward(
                *(gradient, y, weight, None, *ctx.conv, False, [0, 0], ctx.groups),
                [True, True, False],
            )
        torch.ops.aten.threshold_backward.grad_input(of_y, y, 0, grad_input=of_y)
        del y
        of_x, of_scale, of_shift = torch.ops.aten.native_batch_norm_backward(
            *(of_y, x, scale, None, None, mean, inverse_std, True, ctx.eps, [True, True, True])
        )
        return of_x, of_scale, of_shift, of_weight, None, None
