"""The clock of the training loop."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

Clock = Callable[[], float]


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


class Phase(NamedTuple):
    """Training speed in one part of the schedule."""

    first_step: int
    steps: int
    images_per_second: float  # over its wall time; NaN where the clock did not move


#: A schedule's parts: a method that starts to mix after 60 % of it does so between two of them.
PHASES = 10


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
    #: When the first step began, and when each step so far ended.
    ends: list[float] = field(default_factory=list)
    _data: float = 0.0
    _compute: float = 0.0

    @contextmanager
    def data(self) -> Iterator[None]:
        start = self._start()
        yield
        self._data += self.clock() - start

    @contextmanager
    def compute(self) -> Iterator[None]:
        start = self._start()
        yield
        synchronise(self.device)
        self._compute += self.clock() - start

    def end_step(self) -> None:
        self._start()
        self.steps.append((self._data, self._compute))
        self.ends.append(self.clock())
        self._data = self._compute = 0.0

    def _start(self) -> float:
        now = self.clock()
        if not self.ends:
            self.ends.append(now)
        return now

    def phases(self, parts: int = PHASES) -> list[Phase]:
        """Speed in each of `parts` equal parts of the steps, by wall time, nothing left out.

        A method's cost may change within its schedule, as when it starts to mix: the median step
        shows only one side of that. The parts are the same for every method. Where there are
        fewer steps than parts, a step is a part.
        """
        steps = len(self.steps)
        parts = min(parts, steps)
        bounds = [steps * part // parts for part in range(parts + 1)] if parts else []
        made = []
        for first, last in itertools.pairwise(bounds):
            seconds = self.ends[last] - self.ends[first]
            speed = self.images_per_step * (last - first) / seconds if seconds else math.nan
            made.append(Phase(first, last - first, speed))
        return made

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
