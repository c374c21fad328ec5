"""How far a sweep has come: runs that are done, what is at work, how long all of it takes yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from harness.report.progress import ShowRuns
from harness.runs import jobs as kept
from harness.runs.graph import Job

#: Seconds between two looks at the logs of what is at work.
EVERY = 1.0


class SweepProgress:
    """Tells `show` of the runs that a sweep carries out, those that it reuses aside.

    What is left takes as long a training step as what is done took, by the steps of every run.
    """

    def __init__(
        self,
        planned: dict[str, Job],
        results: Path,
        show: ShowRuns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs = [job for job in planned.values() if job.state in ("waiting", "running")]
        self.results, self.show, self.clock = results, show, clock
        self.begun, self.since = clock(), time.time()
        self.looked: float | None = None

    def tell(self) -> None:
        """Look again, if EVERY seconds have gone by."""
        now = self.clock()
        if self.looked is not None and now - self.looked < EVERY:
            return
        self.looked = now
        running = [job for job in self.jobs if job.state == "running"]
        ended = [job for job in self.jobs if job.state not in ("waiting", "running")]
        total = sum(map(_steps, self.jobs))
        done = sum(map(_steps, ended)) + sum(map(self._steps_done, running))
        left = (now - self.begun) * (total - done) / done if done else None
        others = f" and {len(running) - 1} more" if len(running) > 1 else ""
        current = f"{running[0].name}{others}" if running else ""
        self.show(current, len(ended), len(self.jobs), left)

    def _steps_done(self, job: Job) -> int:
        if not job.trains:
            return 0
        weights_id = job.plan.spec.weights_id
        step = kept.last_step(self.results, weights_id, since=self.since) or 0
        return min(step, _steps(job))


def _steps(job: Job) -> int:
    return job.plan.spec.profile.iterations if job.trains else 0
