"""What a training would hold on a GPU, reckoned without one: on tensors without storage."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config.network_files import without_storage
from harness.config.planning import Plan
from harness.errors import in_one_line
from harness.runs.training import build_method
from harness.training.trainer import make_critic_optimiser, make_optimiser
from methods.contract import Segmentor
from methods.networks.recompute import checkpoint_blocks
from methods.parts.losses import cross_entropy

GIB = 2**30
#: Bytes a number that learns: its gradient, that of one more group of terms, Adam's two means.
LEARNING = 4 * 4
#: What mixed precision keeps of fp32's activations: products in half, norms and sums in full.
MIXED = 0.6
#: For workspaces, fragments and what no rule here counts.
MARGIN = 1.15


def needed_gib(plan: Plan) -> float:
    """GiB of GPU memory that a step of the run would take, as an estimate.

    Networks, gradients, the optimiser's state, and the activations of the student's forward of one
    batch: the largest graph that most methods hold at a time. An exception of any kind where the
    networks cannot be built or run without storage.
    """
    profile = plan.spec.profile
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are not loaded into what has no storage
        teachers = [without_storage(t.network, len(plan.classes)) for t in plan.teachers]
        student = without_storage(plan.spec.student, len(plan.classes))
        method = build_method(plan, student, teachers).train()
        held = sum(t.nbytes for t in method.state_dict().values())
        optimisers = filter(None, (make_optimiser(method, profile), make_critic_optimiser(method)))
        learning = sum(
            p.numel() for o in optimisers for group in o.param_groups for p in group["params"]
        )
        if profile.checkpointing:
            with suppress(ValueError):
                checkpoint_blocks(method.student, compiled=profile.compile != "off")
        kept = activations(method.student, profile.batch_size, profile.crop)
    if profile.precision != "fp32":
        kept = round(MIXED * kept) + 2 * learning  # and the weights as they were cast
    return MARGIN * (held + LEARNING * learning + kept) / GIB


def gpu_memory(plan: Plan, device: torch.device, measured_gib: float | None, images: int) -> str:
    """Whether the run fits the GPU, or what it would take of one where there is none.

    `measured_gib` is what steps of so many images took, infinite where they did not fit.
    """
    try:
        needed = f"needs about {needed_gib(plan):.1f} GiB of GPU memory: an estimate, not measured"
    except Exception as error:  # a network or a method that cannot run without storage
        needed = f"how much GPU memory it needs is not known here ({in_one_line(error)})"
    if device.type != "cuda" or measured_gib is None:
        return needed
    properties = torch.cuda.get_device_properties(device)
    gpu = f"{properties.name} of {properties.total_memory / GIB:.0f} GiB"
    if math.isinf(measured_gib):
        return f"does not fit {gpu}: out of memory; {needed}"
    if plan.spec.profile.batch_size > images:
        batch = plan.spec.profile.batch_size
        return f"{measured_gib:.1f} GiB of {gpu} with {images} of {batch} images; {needed}"
    return f"fits {gpu}: {measured_gib:.1f} GiB at its steps' peak"


def activations(network: Segmentor, images: int, crop: tuple[int, int]) -> int:
    """Bytes that a forward of so many crops and its loss keep for the backward pass, in fp32."""
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, int] = {}  # by storage: several operations may keep one tensor

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = max(kept.get(storage, 0), tensor.nbytes)
        return tensor

    device = next(network.parameters()).device
    with fused_attention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logits = network(torch.zeros(images, 3, *crop, device=device)).logits
        label = torch.zeros(images, *crop, dtype=torch.int64, device=device)
        loss = cross_entropy(logits, label)  # holds the graph, so that no storage is used again
        assert loss.requires_grad
        return sum(kept.values())


class _Fused(torch.autograd.Function):
    """Attention that keeps what the kernels of GPUs keep, and computes nothing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Without storage torch takes the path that keeps every pair of tokens, as no GPU does."""

    def attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        return _Fused.apply(query, key, value)

    with patch.object(F, "scaled_dot_product_attention", attention):
        yield
