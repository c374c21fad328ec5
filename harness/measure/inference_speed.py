"""A network's inference speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from harness.measure.clock import Clock, name_of, synchronise
from methods.networks.modes import evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harness.records.schema import Inference


def measure_inference(
    model: nn.Module,
    size: tuple[int, int],
    device: torch.device | str,
    precision: str = "fp32",
    batch: int = 1,
    *,
    seconds: float = 3.0,
    clock: Clock = time.perf_counter,
) -> Inference:
    """Time the network's forward pass on random images of `size` (height, width).

    To be called alone on the machine: whatever else runs there makes the figures smaller.

    Latency is of a batch of 1, throughput of `batch`, logits at the head's stride. Loading and
    upsampling are not in it. Mixed precision is entered anew for each pass, as scoring does.
    `seconds` bounds the whole, warm-up aside; each has at least 3 passes.
    """
    import torch

    from harness.records.schema import Inference
    from harness.training.precision import autocast

    def times(images: int, budget: float) -> list[float]:
        # Values of normalised images: on zeros a GPU draws less power and clocks higher.
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(images, 3, *size, generator=generator).to(device)

        def forward() -> None:
            with autocast(torch.device(device), precision):
                model(image)

        return repeat(forward, device, budget, clock)

    with evaluating(model), torch.inference_mode():
        single = times(1, seconds / 2)
        several = single if batch == 1 else times(batch, seconds / 2)
    p50, p90 = np.percentile(single, [50, 90]) * 1e3
    return Inference(
        images_per_second=batch / float(np.median(several)),
        batch=batch,
        latency_ms_p50=float(p50),
        latency_ms_p90=float(p90),
        resolution=size,
        precision=precision,
        timed_by=name_of(clock),
    )


def repeat(
    call: Callable[[], object],
    device: torch.device | str | None,
    seconds: float,
    clock: Clock = time.perf_counter,
) -> list[float]:
    """Seconds of each call, synchronised, after two calls of warm-up: 3 to 100 of them."""
    for _ in range(2):
        call()
    synchronise(device)
    took: list[float] = []
    while len(took) < 3 or (sum(took) < seconds and len(took) < 100):
        start = clock()
        call()
        synchronise(device)
        took.append(clock() - start)
    return took
