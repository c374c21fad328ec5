"""From the host to the device without a wait: a GPU works behind the host, and a plain copy waits.

Parameters are drawn on the CPU; what a step sends of them goes through pinned memory, and what is
the same at every step is sent once.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def constant(
    values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """These numbers (n,) on the device, sent at the first call; not to be changed in place."""
    with torch.inference_mode(False):  # the first call may be scoring's, the next a graph's
        return torch.tensor(values, dtype=dtype, device=device)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; the host does not wait for it to arrive."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
