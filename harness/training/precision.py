"""Mixed precision, TF32, and the number of threads that compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

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


@contextmanager
def computing_threads(threads: int | None, device: torch.device) -> Iterator[None]:
    """Compute with that many CPU threads inside, with as many as before afterwards.

    None or 0, and any device but the CPU: as many as it has.
    """
    before = torch.get_num_threads()
    if threads and device.type == "cpu":
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_float32(tf32: bool) -> None:
    """Say for all of this process whether a GPU may round float32 operands to TF32's 10 bits.

    It holds for matrix products and convolutions. torch's own choice is True for convolutions
    and False for matrix products.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
