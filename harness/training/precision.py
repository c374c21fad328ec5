"""Mixed precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Mixed precision for bf16 and fp16; nothing for fp32.

    Without autocast's cache of cast weights: one made in a forward without gradients would serve
    the next forward too, whose gradients were lost (pytorch#112583).
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, PRECISIONS[precision], cache_enabled=False)
