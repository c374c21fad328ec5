"""The clock, the memory gauge and the scales: what training and inference cost.

Time and memory are measured on the loop that trains; nothing here changes what it computes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import psutil

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harness.records.store import Inference

Clock = Callable[[], float]
MIB = 2**20


def synchronise(device: torch.device | str | None) -> None:
    """Wait until the device has done what it was given; a CPU always has."""
    if str(device).startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


class Throughput(NamedTuple):
    """Training speed over the measured steps, in images per second."""

    images_per_second: float  # median
    p10: float
    p90: float
    data_share: float  # of the time, spent waiting for data
    steps: int  # measured, warm-up left out


@dataclass
class StepClock:
    """Times a training loop, step by step.

    with clock.data(): batch = next(batches)
    with clock.compute(): forward, backward, optimiser
    clock.end_step()

    What happens outside the two contexts (checkpoints, evaluation) is not the step's. Several
    contexts a step add up, as accumulation needs.
    """

    images_per_step: int
    device: torch.device | str | None = None
    clock: Clock = time.perf_counter
    #: (seconds waiting for data, seconds computing) of each step so far.
    steps: list[tuple[float, float]] = field(default_factory=list)
    _data: float = 0.0
    _compute: float = 0.0

    @contextmanager
    def data(self) -> Iterator[None]:
        start = self.clock()
        yield
        self._data += self.clock() - start

    @contextmanager
    def compute(self) -> Iterator[None]:
        start = self.clock()
        yield
        synchronise(self.device)
        self._compute += self.clock() - start

    def end_step(self) -> None:
        self.steps.append((self._data, self._compute))
        self._data = self._compute = 0.0

    def summary(self) -> Throughput:
        """Median, 10th and 90th percentile without the warm-up: the first 10 %, at most 10 steps.

        NaN where no step was measured.
        """
        warm_up = min(10, -(-len(self.steps) // 10)) if len(self.steps) > 1 else 0
        measured = np.array(self.steps[warm_up:]).reshape(-1, 2)
        if not len(measured):
            return Throughput(np.nan, np.nan, np.nan, np.nan, 0)
        totals = measured.sum(axis=1)
        p10, median, p90 = np.percentile(self.images_per_step / totals, [10, 50, 90])
        share = measured[:, 0].sum() / totals.sum()
        return Throughput(float(median), float(p10), float(p90), float(share), len(measured))


class PeakMemory:
    """Peak memory while the context is open, in MiB.

    On a GPU: what torch allocated, and what it reserved. On a CPU: the resident memory of this
    process and its children (the loader's workers), sampled every `interval` seconds; pages that
    they share count in each of them.
    """

    kind: Literal["gpu allocated", "cpu rss"]

    def __init__(self, device: torch.device | str, interval: float = 0.25) -> None:
        self.device = device
        self.interval = interval
        self.kind = "gpu allocated" if str(device).startswith("cuda") else "cpu rss"
        self.mib = 0.0
        self.reserved_mib: float | None = None

    def __enter__(self) -> PeakMemory:
        if self.kind == "gpu allocated":
            import torch

            torch.cuda.empty_cache()  # what an earlier run of this process left reserved
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.kind == "gpu allocated":
            import torch

            self.mib = torch.cuda.max_memory_allocated(self.device) / MIB
            self.reserved_mib = torch.cuda.max_memory_reserved(self.device) / MIB
        else:
            self._stop.set()
            self._thread.join()
            self.mib = max(self.mib, resident_mib())

    def _sample(self) -> None:
        while True:
            self.mib = max(self.mib, resident_mib())
            if self._stop.wait(self.interval):
                return


def resident_mib() -> float:
    """Resident memory of this process and its children, MiB."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total / MIB


class Energy:
    """Energy the GPU drew while the context is open, in kJ; None where NVML does not tell."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self.kj: float | None = None

    def __enter__(self) -> Energy:
        self._start = gpu_energy_mj(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        end = gpu_energy_mj(self.device)
        if self._start is not None and end is not None:
            self.kj = (end - self._start) / 1e6


def gpu_energy_mj(device: torch.device | str) -> int | None:
    """The GPU's energy counter in mJ since the driver was loaded (Volta and newer)."""
    if not str(device).startswith("cuda"):
        return None
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        # By UUID: CUDA_VISIBLE_DEVICES renumbers torch's devices, not NVML's.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except pynvml.NVMLError:
        return None


def parameters_m(module: nn.Module) -> float:
    """Parameters in millions; shared ones count once, buffers not at all."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def gflops(model: nn.Module, size: tuple[int, int]) -> float:
    """10^9 floating-point operations of one forward pass of a (1, 3, *size) image.

    Counted by torch's FlopCounterMode: matrix products, convolutions and attention, a
    multiply-add as TWO operations. Papers that count multiply-adds once print half of it.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), counter:
        model(torch.zeros(1, 3, *size, device=_device_of(model)))
    return counter.get_total_flops() / 1e9


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode; every module gets back the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def measure_inference(
    model: nn.Module,
    size: tuple[int, int],
    device: torch.device | str,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    batch: int = 1,
    *,
    seconds: float = 3.0,
    clock: Clock = time.perf_counter,
) -> Inference:
    """Time the network's forward pass on synthetic images of `size` (height, width).

    Latency is of a batch of 1, throughput of `batch`, logits at the head's stride. Loading and
    upsampling are not in it. `seconds` bounds the whole, warm-up aside; each has at least 3 passes.
    """
    import torch

    from harness.records.store import Inference

    kind = torch.device(device).type
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def times(images: int, budget: float) -> list[float]:
        image = torch.zeros(images, 3, *size, device=device)
        return repeat(lambda: model(image), device, budget, clock)

    autocast = torch.autocast(kind, dtype=dtype, enabled=precision != "fp32")
    with evaluating(model), torch.inference_mode(), autocast:
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


def _device_of(model: nn.Module) -> torch.device | str:
    return next((parameter.device for parameter in model.parameters()), "cpu")
