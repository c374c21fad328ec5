"""What a run tells while it works: a live bar on a terminal, few plain lines otherwise."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from harness.config.planning import Plan
from harness.data.fingerprint import hashing_told_to
from harness.measure.memory import PeakMemory
from harness.report.pace import Pace, duration

#: A live display is drawn so many times a second.
FRAMES = 4
#: A log has a line a tenth of a training, and at least one in so many seconds.
TENTHS, LONGEST_SILENCE = 10, 600.0
#: Longest name of a phase before its bar.
NAME_WIDTH = 24


@dataclass(frozen=True)
class Role:
    """What a training is within the run that was asked for."""

    name: str = "training"
    #: Seconds of the run that follow this training, by the seconds of one of its steps.
    afterwards: Callable[[float], float] = lambda _: 0.0


#: Told of what is at work, how many runs of how many are done, and seconds that are left.
ShowRuns = Callable[[str, int, int, float | None], None]


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
        if plan.profile_note:
            self.say(plan.profile_note)
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
                task = bar.add_task(what, total=None, visible=False, eta="", terms="")
                pace = Pace()

                def show(done: int, total: int) -> None:
                    pace.note(done)
                    eta = f"ETA {duration(pace.seconds_left(total))}"
                    bar.update(task, completed=done, total=total, visible=True, eta=eta)

                yield show
            return
        started = False

        def tell(done: int, total: int) -> None:
            nonlocal started
            if not started:
                self.say(f"{what}: {total}")
            started = True

        yield tell

    @contextmanager
    def sweeping(self) -> Iterator[ShowRuns]:
        """Yield what is told how far a sweep has come; a log has a line where that has changed."""
        if self.console.is_terminal:
            with self._bar(transient=True) as bar:
                task = bar.add_task("runs", total=None, visible=False, eta="", terms="")

                def draw(current: str, done: int, total: int, left: float | None) -> None:
                    eta = f"ETA {duration(left)}"
                    bar.update(
                        task, completed=done, total=total, visible=True, eta=eta, terms=current
                    )

                yield draw
            return
        said: tuple[tuple[str, int] | None, float] = (None, 0.0)

        def tell(current: str, done: int, total: int, left: float | None) -> None:
            nonlocal said
            now = time.monotonic()
            if not current or (said[0] == (current, done) and now - said[1] < LONGEST_SILENCE):
                return
            said = (current, done), now
            self.say(f"running: {current}  ({done}/{total} runs done, ETA {duration(left)})")

        yield tell

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show what is being done, for as long as that takes; a log need not know it."""
        if not self.console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
        with Bar(*columns, console=self.console, transient=True, refresh_per_second=FRAMES) as bar:
            bar.add_task(what, total=None)
            yield

    @contextmanager
    def training(
        self, iterations: int, memory: PeakMemory, first: int = 0, role: Role | None = None
    ) -> Iterator[TrainingProgress]:
        """Yield what the training loop reports to; `first` steps were done before.

        Shown is the peak of `memory` so far, the figure that the record will hold.
        """
        role = role or Role()
        if self.console.is_terminal:
            with self._bar() as bar:
                yield _OnTerminal(bar, iterations, first, memory, role)
        else:
            yield _InLog(self.say, iterations, first, memory, role)

    def _bar(self, transient: bool = False) -> Bar:
        """Name, bar, count and ETA keep their width; the terms take what is left and are cut."""

        def whole() -> Column:
            return Column(no_wrap=True)

        bar_width = min(max(self.console.width // 6, 6), 24)
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False, table_column=whole()),
            BarColumn(bar_width=bar_width, table_column=Column(min_width=bar_width)),
            TextColumn("{task.completed}/{task.total}", table_column=whole()),
            TextColumn("{task.fields[eta]}", table_column=whole()),
            TextColumn(
                "{task.fields[terms]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
        ]
        return Bar(
            *columns,
            console=self.console,
            transient=transient,
            expand=True,
            refresh_per_second=FRAMES,
        )


class TrainingProgress(ABC):
    """A training as it is told: `step` after each step, the call itself after a logged one."""

    def __init__(self, iterations: int, first: int, memory: PeakMemory, role: Role) -> None:
        self.iterations, self.memory, self.role = iterations, memory, role
        self.pace = Pace(first)

    @abstractmethod
    def __call__(self, step: int, losses: dict[str, float], speed: float) -> None: ...

    def step(self, done: int) -> None:
        """So many steps are done."""
        self.pace.note(done)

    @property
    def eta(self) -> str:
        """Of the training, and of the whole run where more of it follows."""
        each, left = self.pace.seconds_a_step, self.pace.seconds_left(self.iterations)
        text = f"ETA {duration(left)}"
        if each is None or left is None or (after := self.role.afterwards(each)) < 1:
            return text
        return f"{text}, run {duration(left + after)}"


class _OnTerminal(TrainingProgress):
    def __init__(
        self, bar: Bar, iterations: int, first: int, memory: PeakMemory, role: Role
    ) -> None:
        super().__init__(iterations, first, memory, role)
        self.bar = bar
        name = role.name
        name = name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"
        self.task = bar.add_task(name, total=iterations, completed=first, eta=self.eta, terms="")
        self.drawn = -1.0

    def step(self, done: int) -> None:
        super().step(done)
        now = time.monotonic()
        if now - self.drawn >= 1 / FRAMES or done == self.iterations:
            self.drawn = now
            self.bar.update(self.task, completed=done, eta=self.eta)

    def __call__(self, step: int, losses: dict[str, float], speed: float) -> None:
        self.step(step)
        terms = f"{_cost(speed, self.memory)}  {_terms(losses)}"  # what is last is cut first
        self.bar.update(self.task, completed=step, eta=self.eta, terms=terms)


class _InLog(TrainingProgress):
    def __init__(
        self,
        say: Callable[[str], None],
        iterations: int,
        first: int,
        memory: PeakMemory,
        role: Role,
    ) -> None:
        super().__init__(iterations, first, memory, role)
        self.say = say
        self.said: tuple[int, float] | None = None  # the tenth of the last line, and when it was

    def __call__(self, step: int, losses: dict[str, float], speed: float) -> None:
        self.step(step)
        tenth, now = TENTHS * step // self.iterations, time.monotonic()
        if self.said and tenth == self.said[0] and now - self.said[1] < LONGEST_SILENCE:
            return
        self.said = tenth, now
        cost = _cost(speed, self.memory)
        self.say(f"  {step}/{self.iterations}  {_terms(losses)}  {cost}  {self.eta}")


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


def _terms(losses: dict[str, float]) -> str:
    return "  ".join(f"{name.removeprefix('log/')} {value:.3f}" for name, value in losses.items())


def _cost(speed: float, memory: PeakMemory) -> str:
    return f"{speed:.1f} img/s  peak {memory.so_far_mib():.0f} MiB"
