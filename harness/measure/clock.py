"""The clock of the training loop."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

    from harness.records.schema import TimedBy

Clock = Callable[[], float]


def name_of(clock: Clock) -> TimedBy:
    """A clock of the host as records name it."""
    return "wall clock" if clock is time.perf_counter else "own time"


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


class HostMarks:
    """Moments on the host's clock: right where the device is the host."""

    def __init__(self, clock: Clock) -> None:
        self.mark = clock
        self.timed_by = name_of(clock)

    def seconds(self, earlier: float, later: float) -> float:
        return later - earlier

    def passed(self, mark: float) -> bool:
        return True


class GpuMarks:
    """Moments in a GPU's queue of work, as events: marking one makes nobody wait.

    The time between two is the GPU's own. Between the end of a step's work and the arrival of the
    next batch it is what the GPU stood idle for, 0 where the host was ahead.
    """

    timed_by: TimedBy = "gpu events"

    def __init__(self, device: torch.device | str) -> None:
        import torch

        self.event = torch.cuda.Event
        self.stream = torch.cuda.current_stream(device)

    def mark(self) -> torch.cuda.Event:
        event = self.event(enable_timing=True)
        event.record(self.stream)
        return event

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        later.synchronize()
        return earlier.elapsed_time(later) / 1e3

    def passed(self, mark: torch.cuda.Event) -> bool:
        return mark.query()


class Stopwatch:
    """Seconds since it was made, pauses left out, on top of those of an interrupted try."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._start = clock()
        self.earlier = 0.0  # of interrupted tries
        self._left_out = 0.0

    @property
    def seconds(self) -> float:
        return self.earlier + self._clock() - self._start - self._left_out

    @contextmanager
    def paused(self) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            self._left_out += self._clock() - start

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.earlier = state["seconds"]

    @staticmethod
    def of_all(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What stands for the processes of a training: the longest."""
        return {"seconds": max(state["seconds"] for state in states)}


class _Step(NamedTuple):
    """Marks of one step: pairs around waiting for data and around computing, and its end."""

    data: list[tuple[Any, Any]]
    compute: list[tuple[Any, Any]]
    end: Any


class StepClock:
    """Times a training loop, step by step.

    with clock.data(): batch = next(batches)
    with clock.compute(): forward, backward, optimiser
    clock.end_step()

    What happens outside the two contexts (checkpoints, evaluation) is not the step's. Several
    contexts a step add up, as accumulation needs. On a GPU nothing here waits for it: steps are
    told from events in its queue once they have passed.
    """

    def __init__(
        self,
        images_per_step: int,
        device: torch.device | str | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        """`clock` is the host's; a GPU has its own."""
        self.images_per_step = images_per_step
        on_gpu = device is not None and str(device).startswith("cuda")
        self.marks: Any = GpuMarks(device) if device and on_gpu else HostMarks(clock)
        self._open = _Step([], [], None)
        #: End of the last step that `_settled` knows, or the start of the first after a pause.
        self._last: Any = None
        self._unsettled: deque[_Step] = deque()
        #: (seconds waiting for data, seconds computing) of each step, and from start to its end.
        self._settled: list[tuple[float, float]] = []
        self._ends: list[float] = [0.0]

    @contextmanager
    def data(self) -> Iterator[None]:
        start = self._mark()
        yield
        self._open.data.append((start, self._mark()))

    @contextmanager
    def compute(self) -> Iterator[None]:
        start = self._mark()
        yield
        self._open.compute.append((start, self._mark()))

    def end_step(self) -> None:
        self._unsettled.append(self._open._replace(end=self._mark()))
        self._open = _Step([], [], None)
        while self._unsettled and self.marks.passed(self._unsettled[0].end):
            self._settle()

    @property
    def steps(self) -> list[tuple[float, float]]:
        """(seconds waiting for data, seconds computing) of each step; waits for a GPU."""
        while self._unsettled:
            self._settle()
        return self._settled

    def speed(self) -> float:
        """Images per second of the last step; waits for a GPU."""
        return self.images_per_step / sum(self.steps[-1])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Between two steps: what is done inside is in no figure."""
        while self._unsettled:
            self._settle()
        yield
        self._last = None

    def state_dict(self) -> dict[str, Any]:
        """The times of all steps, as JSON."""
        return {"steps": self.steps, "ends": self._ends}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the steps of an earlier clock."""
        self._settled = [(waiting, computing) for waiting, computing in state["steps"]]
        self._ends = list(state["ends"])

    @staticmethod
    def of_all(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What stands for the processes of a training: at every step the slowest of them."""
        steps = zip(*(state["steps"] for state in states), strict=True)
        return {
            "steps": [max(times, key=sum) for times in steps],
            "ends": [max(ends) for ends in zip(*(s["ends"] for s in states), strict=True)],
        }

    def _mark(self) -> Any:
        now = self.marks.mark()
        if self._last is None:
            self._last = now
        return now

    def _settle(self) -> None:
        step, seconds = self._unsettled.popleft(), self.marks.seconds
        self._settled.append(
            (
                sum(seconds(*pair) for pair in step.data),
                sum(seconds(*pair) for pair in step.compute),
            )
        )
        self._ends.append(self._ends[-1] + seconds(self._last, step.end))
        self._last = step.end

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
            seconds = self._ends[last] - self._ends[first]
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
