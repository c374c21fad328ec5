"""When to replace torch's own kernels: in eager mode on a CPU, not under compilation or tracing."""

from __future__ import annotations

import torch
from torch import Tensor


def eager_on_cpu(x: Tensor) -> bool:
    """Whether what is done with x is computed at once, on a CPU: nothing compiles or traces it."""
    return not (x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing())


def plain_on_cpu(x: Tensor) -> bool:
    """The same, and in the precision that x has: no autocast."""
    return eager_on_cpu(x) and not torch.is_autocast_enabled("cpu")
