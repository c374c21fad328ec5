"""The training loop: one for every method."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.config.schema import Profile
from harness.errors import BenchError
from harness.measure.clock import StepClock
from harness.training.trainer import Trainer
from methods.contract import Batch, Method

#: First steps whose losses a record keeps: what `bench check` holds tightly.
GOLDEN_STEPS = 5
#: Parts of the schedule; a record keeps the losses at the first step of each, too.
GOLDEN_PARTS = 10
MIB = 2**20


#: Told the step, its loss terms and the images per second: a terminal, a log, or nobody.
Progress = Callable[[int, dict[str, float], float], None]


@dataclass
class Golden:
    """What `bench check` compares of a training: losses over the schedule, and what was held."""

    iterations: int
    #: By term: (step, value), steps ascending.
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    #: (step, MiB of tensors) after the first steps and after the last: a leak grows between.
    held_mib: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = (round(part * self.iterations / GOLDEN_PARTS) for part in range(GOLDEN_PARTS))
        self.steps = {*range(GOLDEN_STEPS), *parts, self.iterations - 1}

    def note(self, step: int, values: dict[str, float], device: torch.device) -> None:
        """Keep the terms of a golden step."""
        for name, value in values.items():
            self.losses.setdefault(name, []).append((step, value))
        if step in (GOLDEN_STEPS - 1, self.iterations - 1):
            self.held_mib.append((step, held_mib(device)))


def held_mib(device: torch.device) -> float:
    """MiB of tensors that are held: allocated on a GPU; on a CPU, those that Python objects hold.

    What only an autograd graph holds is not among the latter.
    """
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / MIB
    storages = {}
    for item in gc.get_objects():
        # Not tensors without memory, such as torch's fake ones.
        if type(item) in (Tensor, nn.Parameter) and item.device.type == device.type:
            storage = item.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values()) / MIB


def train(
    method: Method,
    loader: Iterable[Batch],
    profile: Profile,
    device: torch.device,
    *,
    clock: StepClock,
    progress: Progress,
    golden: Golden | None = None,
    log: Path | None = None,
) -> dict[str, list[float]]:
    """Train for profile.iterations steps; return each term's value at the first steps.

    `golden` is given the terms of its steps, spread over the schedule. `log` receives one JSON a
    `log_every` steps, whole lines whenever the process is killed.
    BenchError when a loss is not finite.
    """
    method.train()
    trainer = Trainer(method, profile, device)
    golden = golden or Golden(profile.iterations)
    first: dict[str, list[float]] = {}
    batches = iter(loader)
    with log.open("w", buffering=1, encoding="utf-8") if log else nullcontext() as file:
        for step in range(profile.iterations):
            with clock.data():
                micro = [next(batches) for _ in range(profile.accumulation)]
            with clock.compute():
                terms = trainer.step(micro, step)
            clock.end_step()
            logged = (step + 1) % profile.log_every == 0 or step + 1 == profile.iterations
            if step not in golden.steps and not logged:
                continue
            values = finite(terms, step)
            if step in golden.steps:
                del terms
                golden.note(step, values, device)
            if step < GOLDEN_STEPS:
                for name, value in values.items():
                    first.setdefault(name, []).append(value)
            if logged:
                speed = clock.speed()
                progress(step + 1, values, speed)
                if file:
                    line = {"step": step + 1, **values, "images_per_second": speed}
                    file.write(json.dumps(line) + "\n")
    return first


def finite_weights(method: Method) -> None:
    """BenchError for a NaN or infinity in what the last update left of the networks to be kept."""
    for network in filter(None, (method.student, method.ema_teacher)):
        for name, value in network.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                what = "NaN" if bool(value.isnan().any()) else "infinite"
                raise BenchError(
                    f"the weights {name} of {network.name} became {what} by the end of training; "
                    "expected finite values. Try a smaller lr (--set lr=...) or --set "
                    "precision=fp32."
                )


def finite(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    """Terms as floats. BenchError for a NaN or infinite one."""
    values = {name: float(value) for name, value in terms.items()}
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise BenchError(
            f"the loss term {broken[0]!r} became {values[broken[0]]} at step {step}; expected a "
            "finite value. Try a smaller lr (--set lr=...) or --set precision=fp32."
        )
    return values
