"""Runs in processes of their own: what a sweep starts, and what trains a frozen teacher."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel

import harness
from harness.config.schema import RunSpec
from harness.errors import CTRL_C, GOES_ON, BenchError
from harness.files import remove_abandoned, temporary_name, write_text
from harness.processes import OUR_WORD, ending
from harness.runs import jobs
from harness.signals import Stop

if TYPE_CHECKING:
    from harness.config.planning import Plan


class Task(BaseModel):
    """A resolved run and where it works."""

    spec: RunSpec
    config: dict[str, Any]
    init: Path | None = None
    teacher_init: Literal["imagenet", "imagenet, if found", "none"] | Path | None = None
    plugins: list[Path] = []
    results: Path
    data_root: Path | None = None
    device: str | None = None
    fresh: bool = False
    keep_other_code: bool = False
    side_by_side: int = 1
    role: str = "student"  # of its network in the run that was asked for
    steps_after: int = 0  # training steps of that run that follow this one's
    log: list[str] = []  # programs that watch, by the names of --log
    own_time: bool = False  # timed by a clock that other work on the machine does not slow

    @classmethod
    def of(cls, plan: Plan, results: Path, **options: Any) -> Task:
        """The task that carries out a plan; files by their whole path."""
        from methods import registry

        roots = (plan.sources.source.root, plan.sources.target.root)
        root = next((root for root in roots if root), None)
        start = plan.teacher_init
        return cls(
            spec=plan.spec,
            config=plan.config.model_dump(mode="json"),
            init=plan.init.resolve() if plan.init else None,
            teacher_init=start.resolve() if isinstance(start, Path) else start,
            plugins=[plug_in.path.resolve() for plug_in in registry.FILES.values()],
            results=results.resolve(),
            data_root=root.resolve() if root else None,
            **options,
        )


@dataclass(frozen=True)
class Start:
    """A run that a launcher is to carry out."""

    task: Task
    needs: frozenset[str] = frozenset()  # runs that are not done yet and must be before it

    @property
    def run_id(self) -> str:
        return self.task.spec.run_id


@dataclass(frozen=True)
class End:
    """How a run's process ended; the run's record says what came of it."""

    code: int | None  # exit code; None where only `error` tells
    error: str
    interrupted: bool = False  # it was told to stop, and goes on where it is started again


class Launcher(Protocol):
    """What makes processes of the runs of a sweep."""

    interval: float  # seconds between two looks at `ended`
    numbers: dict[str, str]  # of SLURM's jobs by run_id, where there are such
    save: Callable[[], None]  # called when `numbers` has changed

    def free(self) -> int | None:
        """How many runs it can start now, of those that need no other any more.

        None: all at once, those too that wait for others.
        """

    def start(self, starts: Sequence[Start]) -> None:
        """Start these runs, or queue them; each after those that it needs."""

    def ended(self) -> dict[str, End]:
        """Runs that ended since the last call, by run_id."""

    def close(self) -> None:
        """The sweep ends, perhaps before its runs."""


class Local:
    """Processes of this machine, so many at a time; where it has GPUs, each has one to itself."""

    interval = 0.2

    def __init__(
        self, results: Path, side_by_side: int, gpus: Sequence[str] = (), stop: Stop | None = None
    ) -> None:
        """`gpus` as CUDA_VISIBLE_DEVICES names them; none: the runs take what the task says.

        Signals that `stop` hears go on to the processes.
        """
        self.stop = stop or Stop()
        self.numbers: dict[str, str] = {}
        self.save: Callable[[], None] = lambda: None
        self.results = results
        self.places: list[str | None] = [*gpus[:side_by_side]] or [None] * side_by_side
        self.running: dict[str, tuple[subprocess.Popen[bytes], str | None, Path]] = {}
        self.beaten = 0.0

    def free(self) -> int:
        return len(self.places)

    def start(self, starts: Sequence[Start]) -> None:
        for start in starts:
            run_id, gpu = start.run_id, self.places.pop()
            # Another sweep may be at the same run: each has a task of its own, and adds to the log.
            remove_abandoned(jobs.task_path(self.results, run_id))
            path = temporary_name(jobs.task_path(self.results, run_id))
            write_text(path, start.task.model_dump_json())
            log = write_text(jobs.log_path(self.results, run_id), "")
            since = time.time()
            with log.open("ab") as file:
                process = subprocess.Popen(
                    command(path),
                    stdout=file,
                    stderr=file,
                    env=None if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
                )
            self.stop.forward(process)
            self.running[run_id] = (process, gpu, path)
            running = jobs.JobFile(
                state="running", process=jobs.Process.of(process.pid), since=since
            )
            jobs.write_job(self.results, run_id, running)

    def ended(self) -> dict[str, End]:
        ends = {}
        for run_id, (process, gpu, task) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[run_id]
            task.unlink(missing_ok=True)
            self.places.append(gpu)
            ends[run_id] = self._end(run_id, process.returncode)
        if self.running and time.monotonic() - self.beaten > jobs.BEAT:
            self.beaten = time.monotonic()
            for run_id in self.running:
                jobs.beat(jobs.job_path(self.results, run_id))
        return ends

    def _end(self, run_id: str, code: int) -> End:
        log = jobs.log_path(self.results, run_id)
        last = jobs.last_line(log)
        goes_on = code in (GOES_ON, CTRL_C)  # the last line says what it has kept
        # Before it listens to signals one ends it without a line of ours, at Python's start with
        # exit code 1.
        silenced = code != 0 and not last.startswith(OUR_WORD)
        interrupted = goes_on or (silenced and self.stop.number is not None)
        error = last if goes_on else ending(code, last)
        ended = jobs.JobFile(state="done")
        if code:
            ended = jobs.JobFile(state="stopped" if interrupted else "failed", error=error)
        jobs.write_job(self.results, run_id, ended)
        return End(code, f"{error} (see {log})", interrupted)

    def close(self) -> None:
        """Leave no run behind when the sweep itself is interrupted."""
        for process, _, _ in self.running.values():
            process.terminate()
        for run_id, (process, _, task) in self.running.items():
            process.wait()
            with suppress(OSError):  # a full disk, of which the sweep may have died
                task.unlink(missing_ok=True)
                jobs.write_job(self.results, run_id, jobs.JobFile(state="stopped"))


def visible_gpus() -> list[str]:
    """The GPUs that CUDA shows this process, by names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in named.split(",")][:count]


def dealt_gpus(device: str, side_by_side: int, gpus: Sequence[str]) -> list[str]:
    """The GPUs of runs side by side, one each; none for runs on a CPU or on a GPU that is named.

    BenchError for more runs than GPUs.
    """
    if device == "cpu":
        return []
    if device == "cuda" and side_by_side <= len(gpus):
        return [*gpus[:side_by_side]]
    if device != "cuda" and side_by_side == 1:
        return []
    asked = f"--jobs {side_by_side}"
    if device != "cuda":
        raise BenchError(
            f"{asked}: --device {device} names one GPU for all runs; expected --jobs 1, or "
            "--device cuda, with which each run gets a GPU of its own."
        )
    raise BenchError(
        f"{asked}: {len(gpus)} GPU{'s' if len(gpus) != 1 else ''} found (CUDA_VISIBLE_DEVICES "
        f"counts), and each run takes one; expected --jobs {len(gpus)} or less, or --device cpu."
    )


def command(task: Path, module: str = "harness.runs.worker") -> list[str]:
    """The command line of a process that carries out the task in a JSON file: `main` of a module.

    `python -m` would put the working folder first on the module path, where a user's own
    `methods/` or `harness/` hides ours. The process gets this one's path instead, without the
    working folder's empty entry, as multiprocessing hands it on. `python -P` would need 3.11.
    It ends when this process does, in whatever way; by SIGTERM, so that it can print a last line.
    Ctrl-C, which a terminal sends to both, ends it without a traceback while it still imports.
    """
    path = [entry for entry in sys.path if entry]
    our_folder = str(Path(harness.__file__).resolve().parents[1])
    watch = f"from harness.processes import end_with_parent as e; e({os.getpid()}, {SIGTERM:d})"
    quiet = "from harness.signals import end_quietly; end_quietly()"
    start = f"{quiet}; {watch}; from {module} import main; main(sys.argv[1])"
    code = f"import sys; sys.path[:] = {[*path, our_folder]!r}; {start}"
    return [sys.executable, "-c", code, str(task)]


def carry_out(
    task: Task,
    say: Callable[[str], None],
    inherit: bool,
    stop: Stop | None = None,
    variables: Mapping[str, str] | None = None,
) -> int:
    """Carry out a task in a process of its own -> its exit code.

    `inherit` lets it write to this process's terminal; else `say` is told each line it prints.
    `variables` go before those of this process's environment.
    Signals that `stop` hears go on to the process, whose end is waited for. Interrupted then.
    """
    stop = stop or Stop()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "task.json"
        path.write_text(task.model_dump_json(), encoding="utf-8")
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(
            command(path),
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **(variables or {})},
            **({} if inherit else streams),
        ) as process:
            try:
                with stop.forwarded(process):
                    for line in process.stdout or ():
                        say(line.rstrip("\n"))
                    process.wait()
            except BaseException:
                process.terminate()
                raise
        return process.returncode
