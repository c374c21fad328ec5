"""Cases measured in turns by processes that stay alive: what slows the machine slows them all."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any

from harness.measure.environment import ROOT
from harness.processes import ending
from harness.runs.revisions import command
from harness.runs.speed.cases import SpeedCase
from harness.runs.speed.results import (
    THIS,
    EvaluationTimes,
    InferenceTimes,
    Memory,
    Peak,
    Result,
    Spread,
    Steps,
)

#: Two medians of warm-up that agree so far end it, after at most so many rounds.
AGREEMENT, LONGEST_WARM_UP = 0.05, 10
#: Turns of inference and evaluation where revisions are compared.
EXTRA_TURNS = 3
#: What can be measured beside steps and their memory.
EXTRAS = ("inference", "evaluation", "flops", "peak")
#: A worker: the tree's modules, measured by this tree's.
WORKER = """
import importlib.util
def load(name, file, **options):
    spec = importlib.util.spec_from_file_location(name, file, **options)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
import harness.measure, harness.runs
load("harness.measure.clock", {ours!r} + "/measure/clock.py")
load("harness.runs.speed", {ours!r} + "/runs/speed/__init__.py",
     submodule_search_locations=[{ours!r} + "/runs/speed"])
from harness.runs.speed.worker import main
main(sys.argv[1])
"""


class WorkerError(Exception):
    """A case could not be measured: why."""


@dataclass(frozen=True)
class SpeedOptions:
    """How long and where."""

    device: str
    seconds: float = 8.0
    rounds: int = 8
    at: float = 0.7
    plugins: tuple[Path, ...] = ()
    extras: tuple[str, ...] = EXTRAS
    trace: Path | None = None
    together: int = 4


class Worker:
    """One case with one tree's code, in a process of its own."""

    def __init__(self, case: SpeedCase, tree: Path, options: SpeedOptions, scratch: Path) -> None:
        task = scratch / "task.json"
        task.write_text(
            json.dumps(
                {
                    "case": case.model_dump(mode="json"),
                    "networks": case.networks,
                    "device": options.device,
                    "at": options.at,
                    "plugins": [str(path.resolve()) for path in options.plugins],
                }
            ),
            encoding="utf-8",
        )
        self._said = (scratch / "stderr").open("w+", encoding="utf-8", errors="replace")
        code = WORKER.format(ours=str(ROOT / "harness"))
        self._process = subprocess.Popen(
            command(tree, code, str(task)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            encoding="utf-8",
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Its answer. WorkerError where it has none."""
        stdin, stdout = self._pipes()
        try:
            stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            self._said.seek(0)
            last = self._said.read().strip().rpartition("\n")[2]
            raise WorkerError(ending(code, last))
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):  # what one that ended by itself has not read
            self._pipes()[0].close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


def measure(
    cases: Sequence[SpeedCase],
    trees: dict[str, Path],
    options: SpeedOptions,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Result]:
    """Measure each case with each tree's code, `options.together` cases at a time in turns."""
    for first in range(0, len(cases), options.together):
        chosen = cases[first : first + options.together]
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
            sides = []
            for number, (case, code) in enumerate((c, t) for c in chosen for t in trees):
                folder = Path(scratch) / str(number)
                folder.mkdir()
                worker = Worker(case, trees[code], options, folder)
                stack.callback(worker.close)
                sides.append(_Side(worker, Result(case=case, code=code), options))
            for side in sides:
                say(f"{side.result.case.name}: {side.result.code}")
                side.attempt(side.warm_up)
            for number in range(options.rounds):
                # The other way round every other time: none always comes first.
                for side in sides if number % 2 == 0 else reversed(sides):
                    side.attempt(side.round)
            if options.extras:
                say("inference, evaluation, operations")
            for number in range(EXTRA_TURNS if len(trees) > 1 else 1):
                for side in sides if number % 2 == 0 else reversed(sides):
                    side.attempt(side.use_student)
            for side in sides:
                side.attempt(side.finish)
                yield side.result


class _Side:
    """One worker's turns and what they gave."""

    def __init__(self, worker: Worker, result: Result, options: SpeedOptions) -> None:
        self.worker, self.result, self.options = worker, result, options
        self.rounds: list[dict[str, float]] = []
        self.inference: list[dict[str, Any]] = []
        self.evaluation: list[dict[str, Any]] = []
        self.images = self.warm_up_rounds = 0
        self.stable = False

    def attempt(self, do: Callable[[], None]) -> None:
        """Do it, unless an earlier turn failed; keep the reason where this one does."""
        if self.result.error:
            return
        try:
            do()
        except WorkerError as error:
            self.result.error = str(error)

    def warm_up(self) -> None:
        built = self.worker.ask("build")
        self.images = built["images"]
        self.result.memory = Memory(**built["memory"])
        self.result.unmet = built["unmet"]
        self.result.precision, self.result.tf32 = built["precision"], built["tf32"]
        self.result.threads = built["threads"]
        before = 0.0
        while not self.stable and self.warm_up_rounds < LONGEST_WARM_UP:
            now = sum(self._turn().values())
            self.warm_up_rounds += 1
            self.stable = abs(now - before) <= AGREEMENT * now
            before = now

    def round(self) -> None:
        self.rounds.append(self._turn())

    def _turn(self) -> dict[str, float]:
        seconds = self.options.seconds / self.options.rounds
        return self.worker.ask("steps", seconds=seconds)["parts"]

    def use_student(self) -> None:
        """A turn of inference and of evaluation, where they are wanted."""
        for extra, turns in (("inference", self.inference), ("evaluation", self.evaluation)):
            if extra in self.options.extras:
                turns.append(self.worker.ask(extra, seconds=self.options.seconds / 4))

    def finish(self) -> None:
        """Put the turns together, trace, and count operations."""
        means = [1e3 * sum(parts.values()) for parts in self.rounds]
        names = {name for parts in self.rounds for name in parts}
        self.result.steps = Steps(
            images=self.images,
            step_ms=Spread.of(means),
            parts_ms={
                name: Spread.of([1e3 * parts.get(name, 0.0) for parts in self.rounds])
                for name in sorted(names)
            },
            round_ms=means,
            warm_up_rounds=self.warm_up_rounds,
            stable=self.stable,
        )
        if self.inference:
            figures = {key: median(t[key] for t in self.inference) for key in self.inference[0]}
            self.result.inference = InferenceTimes(**figures)
        if self.evaluation:
            speeds = [speed for turn in self.evaluation for speed in turn["images_per_second"]]
            figures = {**self.evaluation[0], "images_per_second": Spread.of(speeds)}
            self.result.evaluation = EvaluationTimes(**figures)
        if self.result.code != THIS:
            return
        if self.options.trace:
            self.worker.ask("trace", path=str(self.options.trace.resolve()))
        if "flops" in self.options.extras:
            self.result.gflops = self.worker.ask("flops")["gflops"]


def peaks(results: Sequence[Result], options: SpeedOptions) -> list[Peak]:
    """The device's rates in each precision and by each number of threads of the results.

    Each is measured alone, once.
    """
    made = []
    asked: dict[tuple[str, bool, int | None], SpeedCase] = {}
    for result in results:
        if not result.error and result.code == THIS:
            asked.setdefault((result.precision, result.tf32, result.threads), result.case)
    for (precision, tf32, threads), case in asked.items():
        with tempfile.TemporaryDirectory() as scratch:
            worker = Worker(case, ROOT, options, Path(scratch))
            try:
                rates = worker.ask("peak", seconds=min(1.0, options.seconds / 4))
                made.append(Peak(precision=precision, tf32=tf32, threads=threads, **rates))
            except WorkerError:  # a precision that its library lacks here: no share is shown
                continue
            finally:
                worker.close()
    return made


def load_average() -> float:
    """Processes that wanted a core in the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
