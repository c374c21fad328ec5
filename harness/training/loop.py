"""The training loop: one for every method."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from harness.config.schema import Profile
from harness.errors import BenchError
from harness.measure.clock import StepClock
from harness.training.trainer import Trainer
from methods.contract import Batch, Method

#: Steps whose losses a record keeps: what `bench check` holds tightly.
GOLDEN_STEPS = 5


#: Told the step, its loss terms and the images per second: a terminal, a log, or nobody.
Progress = Callable[[int, dict[str, float], float], None]


def train(
    method: Method,
    loader: Iterable[Batch],
    profile: Profile,
    device: torch.device,
    *,
    clock: StepClock,
    progress: Progress,
    log: Path | None = None,
) -> dict[str, list[float]]:
    """Train for profile.iterations steps; return each term's value at the first steps.

    `log` receives one JSON a `log_every` steps, whole lines whenever the process is killed.
    BenchError when a loss is not finite.
    """
    method.train()
    trainer = Trainer(method, profile, device)
    golden: dict[str, list[float]] = {}
    batches = iter(loader)
    with log.open("w", buffering=1, encoding="utf-8") if log else nullcontext() as file:
        for step in range(profile.iterations):
            with clock.data():
                micro = [next(batches) for _ in range(profile.accumulation)]
            with clock.compute():
                terms = trainer.step(micro, step)
            clock.end_step()
            logged = (step + 1) % profile.log_every == 0 or step + 1 == profile.iterations
            if step >= GOLDEN_STEPS and not logged:
                continue
            values = finite(terms, step)
            if step < GOLDEN_STEPS:
                for name, value in values.items():
                    golden.setdefault(name, []).append(value)
            if logged:
                speed = clock.images_per_step / sum(clock.steps[-1])
                progress(step + 1, values, speed)
                if file:
                    line = {"step": step + 1, **values, "images_per_second": speed}
                    file.write(json.dumps(line) + "\n")
    return golden


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
