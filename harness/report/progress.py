"""What a run tells while it works: a live bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from harness.config.planning import Plan
from harness.data.fingerprint import hashing_told_to
from harness.measure.memory import PeakMemory
from harness.training.loop import Progress


class Reporter:
    """Prints to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def headline(self, plan: Plan) -> None:
        """Say what runs on which data; generated data first of all."""
        spec = plan.spec
        if plan.sources.notice:
            self.say(plan.sources.notice)
        teachers = "".join(f", frozen teacher {t.network}" for t in plan.teachers)
        self.say(
            f"{spec.method} on {spec.scenario.title}, profile {spec.profile.name}, student "
            f"{spec.student}{teachers}, seed {spec.seed}, {spec.profile.iterations} iterations "
            f"[{spec.run_id}]"
        )
        if plan.missing_init:
            self.say(plan.missing_init)

    @contextmanager
    def counting(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a callback (done, all) for work that may be needed: silent until it is called."""
        if self.console.is_terminal:
            with self._bar(transient=True) as bar:
                task = bar.add_task(what, total=None, terms="", visible=False)
                yield lambda done, total: bar.update(
                    task, completed=done, total=total, visible=True
                )
            return
        started = False

        def tell(done: int, total: int) -> None:
            nonlocal started
            if not started:
                self.say(f"{what}: {total}")
            started = True

        yield tell

    @contextmanager
    def training(self, iterations: int, memory: PeakMemory, first: int = 0) -> Iterator[Progress]:
        """Yield the callback that the training loop reports to; `first` steps were done before.

        Shown is the peak of `memory` so far, the figure that the record will hold.
        """
        if self.console.is_terminal:
            with self._bar() as bar:
                task = bar.add_task("training", total=iterations, completed=first, terms="")

                def show(step: int, losses: dict[str, float], speed: float) -> None:
                    bar.update(task, completed=step, terms=_terms(losses, speed, memory))

                yield show
            return
        start = time.perf_counter()

        def tell(step: int, losses: dict[str, float], speed: float) -> None:
            left = (time.perf_counter() - start) / (step - first) * (iterations - step)
            self.say(f"  {step}/{iterations}  {_terms(losses, speed, memory)}  ETA {left:.0f} s")

        yield tell

    def _bar(self, transient: bool = False) -> Bar:
        return Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}  {task.fields[terms]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=transient,
        )


#: Seconds that a data set is read before anything is said of it.
QUIET_SECONDS = 1.0


@contextmanager
def hashing_shown() -> Iterator[None]:
    """Within the block, say on stderr that a real data set is read for the first time.

    Nothing for what takes less than QUIET_SECONDS; one line a set where stderr is no terminal.
    """
    reporter = Reporter(Console(stderr=True))
    begun: dict[tuple[str, int], float] = {}
    with ExitStack() as shown:
        bars: dict[tuple[str, int], Callable[[int, int], None]] = {}

        def told(name: str, done: int, total: int) -> None:
            key = (name, total)
            now = time.perf_counter()
            if now - begun.setdefault(key, now) < QUIET_SECONDS and key not in bars:
                return
            if key not in bars:
                shown.close()  # a terminal has one live display at a time
                what = f"reading files of {name} once, to name the data by its content"
                bars[key] = shown.enter_context(reporter.counting(what))
            bars[key](done, total)

        with hashing_told_to(told):
            yield


def _terms(losses: dict[str, float], speed: float, memory: PeakMemory) -> str:
    shown = "  ".join(f"{name.removeprefix('log/')} {value:.3f}" for name, value in losses.items())
    return f"{shown}  {speed:.1f} img/s  peak {memory.so_far_mib():.0f} MiB"
