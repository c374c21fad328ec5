"""How a method's networks are executed: memory format, checkpointing, compilation, weights' type.

None of it changes what is computed but for rounding. What a machine cannot do is left out, and
said.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from harness.config.schema import Profile
from harness.errors import in_one_line
from methods.contract import Batch, Method, Segmentor
from methods.networks.ensemble import Ensemble
from methods.networks.recompute import checkpoint_blocks
from methods.parts.ema import Frozen
from methods.parts.joined import processes
from methods.parts.joined_norm import join_norms

#: What each choice of the profile asks of torch.compile.
OPTIONS: dict[str, dict[str, str]] = {
    "default": {"mode": "default"},
    "cudagraphs": {"mode": "reduce-overhead"},
}
#: Compilations of one function: networks of one class share it, in several modes and sizes each.
RECOMPILATIONS = 64


def prepare(method: Method, profile: Profile, device: torch.device) -> list[str]:
    """Make the networks of a method, already on the device, run as the profile says.

    Returns a line for each setting that this machine does not support.
    """
    unmet = _not_on(device, profile)
    if processes() > 1 and profile.sync_batchnorm and (left := join_norms(method)):
        unmet.append(f"sync_batchnorm=true: {', '.join(left)} cannot: statistics of each device")
    for module in method.modules():
        if profile.channels_last or getattr(module, "maps_channels_last", False):
            # As the maps are laid out, weights' gradients are: in another order each is copied.
            module.to(memory_format=torch.channels_last)
    if profile.checkpointing:
        try:
            checkpoint_blocks(method.student, compiled=profile.compile != "off")
        except ValueError as error:
            unmet.append(f"checkpointing=true: {error}: nothing is computed again")
    if profile.frozen_precision == "bf16":
        if profile.precision == "bf16":
            for module in method.modules():
                if isinstance(module, Frozen):
                    module.to(torch.bfloat16)
        else:
            unmet.append(
                f"frozen_precision=bf16 needs precision=bf16, not {profile.precision}: fp32 instead"
            )
    if profile.compile != "off":
        unmet += _compile(method, profile.compile, device)
    return unmet


def _not_on(device: torch.device, profile: Profile) -> list[str]:
    """Precisions that this device has no units for."""
    on_gpu = device.type == "cuda"
    unmet = []
    if profile.tf32 and not (on_gpu and torch.cuda.get_device_capability(device) >= (8, 0)):
        where = "this GPU is older" if on_gpu else f"not {device.type}"
        unmet.append(f"tf32=true needs a GPU of compute capability 8.0, {where}: fp32 in full")
    if profile.precision == "bf16" and on_gpu and not _has_bf16(device):
        unmet.append("precision=bf16: this GPU has no units for it: emulated, and slow")
    return unmet


def _has_bf16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


def _compile(method: Method, choice: str, device: torch.device) -> list[str]:
    """Compile every network's encoder and head, at their first call; say why not."""
    unmet = []
    if choice == "cudagraphs" and device.type != "cuda":
        unmet.append(f"compile=cudagraphs needs a GPU, not {device.type}: default instead")
        choice = "default"
    if why := _no_compiler(device):
        return [f"compile={choice}: torch.compile does not work here ({why}): eager instead"]
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # 2.5
    setattr(config, limit, max(getattr(config, limit), RECOMPILATIONS))
    for network in _segmentors(method):
        for part in (network.encoder, network.head):
            part.compile(**OPTIONS[choice])
    return unmet


def _no_compiler(device: torch.device) -> str:
    """Why torch.compile does not work on this machine; empty where it does."""
    try:
        torch.compile(lambda x: x.relu() * 2)(torch.zeros(8, device=device))
    except Exception as error:  # of many kinds: no C++ compiler, no Triton, a Python too new
        return in_one_line(error)
    return ""


def _segmentors(method: Method) -> Iterator[Segmentor]:
    """Networks of an encoder and a head, those of an ensemble too, not the parts of such a one."""
    pending: list[nn.Module] = [method]
    while pending:
        module = pending.pop()
        if isinstance(module, Segmentor) and not isinstance(module, Ensemble):
            yield module
        else:
            pending.extend(module.children())


def laid_out(batch: Batch, profile: Profile) -> Batch:
    """The batch with its images in the profile's memory format."""
    if not profile.channels_last:
        return batch
    return Batch(
        batch.source_image.contiguous(memory_format=torch.channels_last),
        batch.source_label,
        batch.target_image.contiguous(memory_format=torch.channels_last),
        batch.target_label,
    )
