"""Mixed precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Mixed precision for bf16 and fp16; nothing for fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, PRECISIONS[precision])


def set_float32(tf32: bool) -> None:
    """Say for all of this process whether a GPU may round float32 operands to TF32's 10 bits.

    It holds for matrix products and convolutions. torch's own choice is True for convolutions
    and False for matrix products.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
