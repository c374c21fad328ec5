"""What a device computes at most: its rate for a large matrix product and a large convolution."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from harness.measure.inference_speed import repeat
from harness.training.precision import PRECISIONS

#: Side of the square matrices, and images, channels, side of the convolution's maps.
MATRIX = {"cuda": 8192, "cpu": 1024}
CONVOLUTION = {"cuda": (32, 256, 128), "cpu": (4, 128, 64)}
#: Values of normalised images: on zeros a GPU draws less power and clocks higher.
SEED = 0


def peak_rates(device: torch.device, precision: str, seconds: float = 0.5) -> dict[str, float]:
    """TFLOP/s of `matrix` and `convolution`, a multiply-add as two operations.

    The fastest of some calls in each memory format counts; TF32 is as the process has it.
    """
    dtype = PRECISIONS.get(precision, torch.float32)
    generator = torch.Generator().manual_seed(SEED)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    def rate(operations: float, call: Callable[[], object]) -> float:
        return operations / min(repeat(call, device, seconds)) / 1e12

    with torch.inference_mode():
        side = MATRIX[device.type]
        a, b = random(side, side), random(side, side)
        matrix = rate(2 * side**3, lambda: a @ b)
        images, channels, side = CONVOLUTION[device.type]
        weight = random(channels, channels, 3, 3)
        maps = random(images, channels, side, side)
        operations = 2 * 9 * images * channels**2 * side**2
        rates = []
        for memory_format in (torch.contiguous_format, torch.channels_last):
            laid_out = [t.contiguous(memory_format=memory_format) for t in (maps, weight)]
            rates.append(rate(operations, partial(F.conv2d, *laid_out, padding=1)))
    return {"matrix": matrix, "convolution": max(rates)}
