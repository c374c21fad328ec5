"""How long something takes yet, from how far it has come. Pure but for the clock it is given."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

#: Seconds of the past that the pace is taken from: it may change, as when a method starts to mix.
WINDOW = 60.0


class Pace:
    """Steps by time; the rate of the last minute is taken for that of the rest."""

    def __init__(self, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.starting = True
        self.seen: deque[tuple[float, int]] = deque([(clock(), done)])

    def note(self, done: int) -> None:
        """So many steps are done now."""
        now = self.clock()
        if self.starting and len(self.seen) == 2:
            self.seen.popleft()  # the first step waits for workers and builds what others reuse
            self.starting = False
        self.seen.append((now, done))
        while len(self.seen) > 2 and now - self.seen[1][0] > WINDOW:
            self.seen.popleft()

    @property
    def seconds_a_step(self) -> float | None:
        """None before the first step."""
        (start, first), (end, last) = self.seen[0], self.seen[-1]
        return (end - start) / (last - first) if last > first else None

    def seconds_left(self, total: int) -> float | None:
        """Of those of `total` steps that are left; None before the first."""
        each = self.seconds_a_step
        return None if each is None else each * (total - self.seen[-1][1])


def duration(seconds: float | None) -> str:
    """As a clock shows it, 0:05, 12:34, 1:02:03, or days: 2 d 03:04; `-:--` for None."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
