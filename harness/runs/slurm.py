"""Runs of a sweep as SLURM jobs, submitted by submitit: arrays, and dependencies between them."""

from __future__ import annotations

import io
import math
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness.errors import BenchError, in_one_line
from harness.files import write_text
from harness.runs import jobs
from harness.runs.launchers import End, Start
from harness.runs.slurm_job import carry_out

if TYPE_CHECKING:
    import torch

#: SlurmOptions of sbatch that a sweep sets itself, or that make no sense for its jobs.
OURS = {
    *("array", "chdir", "dependency", "error", "input", "job-name", "nodes", "ntasks"),
    *("ntasks-per-node", "open-mode", "output", "parsable", "requeue", "no-requeue", "signal"),
    *("test-only", "time", "wait", "wrap"),
}
#: Seconds before the time limit at which SLURM says so, for a last checkpoint.
NOTICE = 120
#: Seconds for which a job that left the queue may owe its word: its file comes over the network.
GRACE = 30.0


@dataclass(frozen=True)
class SlurmOptions:
    """What the user wants of SLURM."""

    minutes: int | None = None  # time limit of a job; None: from the estimate of its training
    sbatch: dict[str, str | bool] = field(default_factory=dict)  # long options of sbatch


def options(time_limit: str | None, settings: Iterable[str]) -> SlurmOptions:
    """The command line's `--time` and `--slurm`. BenchError for what cannot be one."""
    return SlurmOptions(None if time_limit is None else minutes(time_limit), _sbatch(settings))


def minutes(text: str) -> int:
    """A time limit as sbatch writes it, in minutes: 90, 1:30:00, 2-12, 2-12:00. BenchError else."""
    match = re.fullmatch(
        r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", text.strip(), re.ASCII
    )
    total = 0.0
    if match:
        days, *parts = match.groups()
        first, second, third = (int(part or 0) for part in parts)
        if days:
            total = (int(days) * 24 + first) * 60 + second + third / 60
        elif parts[2]:
            total = first * 60 + second + third / 60
        else:  # minutes, or minutes:seconds
            total = first + second / 60
    if not 0 < total < 10**6:
        raise BenchError(
            f"--time {text}: expected a time limit as sbatch takes it: minutes, "
            "HOURS:MINUTES:SECONDS, DAYS-HOURS or DAYS-HOURS:MINUTES."
        )
    return math.ceil(total)


def _sbatch(settings: Iterable[str]) -> dict[str, str | bool]:
    chosen: dict[str, str | bool] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.removeprefix("--").replace("_", "-")
        if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name) or not value.isprintable():
            raise BenchError(
                f"--slurm {setting!r}: expected KEY=VALUE, a long option of sbatch and its value, "
                "such as partition=gpu."
            )
        if name in OURS:
            remedy = "give --time instead" if name == "time" else "leave it out"
            raise BenchError(f"--slurm {setting}: a sweep sets {name} itself; {remedy}.")
        # submitit writes dashes for what it has underscores for: the same option once.
        chosen[name.replace("-", "_")] = value if equals else True
    return chosen


class Slurm:
    """Jobs of a SLURM cluster: all submitted at once, SLURM keeps their order."""

    interval = 5.0

    def __init__(
        self,
        results: Path,
        wishes: SlurmOptions,
        suite: str,
        device: torch.device,
        say: Callable[[str], None],
    ) -> None:
        """BenchError where submitit or SLURM is not there."""
        try:
            import submitit
        except ImportError as error:
            raise BenchError(
                "--launcher slurm: submitit is not installed; pip install 'uda-bench[cluster]'."
            ) from error
        for program in ("sbatch", "srun", "squeue"):
            if not shutil.which(program):
                raise BenchError(
                    f"--launcher slurm: no {program} found; expected to be on a machine that "
                    "submits jobs to a SLURM cluster. --launcher local runs on this machine."
                )
        self.results = results.resolve()
        if "%" in str(self.results) or not str(self.results).isprintable():
            raise BenchError(
                f"--results {str(results)!r}: SLURM gives % a meaning in names of files, and takes "
                "no line breaks; expected another folder."
            )
        self.wishes, self.device, self.say = wishes, device, say
        self.save: Callable[[], None] = lambda: None
        self.seconds: dict[str, float] = {}  # that a run's training takes, about
        self.name = "bench-" + re.sub(r"[^A-Za-z0-9_.]+", "_", suite)[:40]
        self.numbers: dict[str, str] = {}
        self.watched: set[str] = set()
        self.missing: dict[str, float] = {}  # run_id -> when its job was first out of the queue
        self.submit = submitit

    def adopt(self, run_ids: Iterable[str]) -> set[str]:
        """Take over those runs whose jobs an earlier sweep left in the queue -> those."""
        wanted = set(run_ids)
        earlier = {
            run.run_id: run.slurm
            for _, sweep in reversed(jobs.read_sweeps(self.results))
            for run in sweep.runs
            if run.slurm and run.run_id in wanted
        }
        queued = self._queue() if earlier else set()
        if queued is None:
            raise BenchError("squeue does not answer; try again when SLURM does.")
        kept = {run_id: number for run_id, number in earlier.items() if number in queued}
        self.numbers |= kept
        self.watched |= kept.keys()
        return set(kept)

    def free(self) -> None:
        """All runs may be queued at once."""

    def start(self, starts: Sequence[Start]) -> None:
        """Queue runs: those that need the same others are one array."""
        left = list(starts)
        while left:
            needs = left[0].needs
            group = [start for start in left if start.needs == needs]
            left = [start for start in left if start.needs != needs]
            self._submit(group, sorted(self.numbers[need] for need in needs))

    def _submit(self, group: list[Start], after: list[str]) -> None:
        for start in group:
            task = jobs.task_path(self.results, start.run_id)
            write_text(task, start.task.model_dump_json())
            jobs.write_job(self.results, start.run_id, jobs.JobFile(state="queued"))
        limit = self.wishes.minutes or time_limit(
            max(self.seconds.get(start.run_id, 0.0) for start in group)
        )
        folder = self.results / "artifacts" / "slurm"
        folder.mkdir(parents=True, exist_ok=True)
        utils = self.submit.core.utils
        try:
            executor = self.submit.SlurmExecutor(folder)
            executor.update_parameters(
                job_name=self.name,
                time=limit,
                signal_delay_s=min(NOTICE, limit * 15),
                setup=_setup(),
                stderr_to_stdout=True,
                additional_parameters=self._parameters(folder, after),
            )
            with redirect_stderr(io.StringIO()):  # submitit repeats what sbatch says
                submitted = executor.map_array(
                    carry_out, [str(self.results)] * len(group), [start.run_id for start in group]
                )
        except (utils.FailedJobError, utils.FailedSubmissionError, OSError) as error:
            raise BenchError(
                f"sbatch takes no jobs: {_reason(error)}. Its options are set by --slurm KEY=VALUE."
            ) from error
        for start, job in zip(group, submitted, strict=True):
            self.numbers[start.run_id] = job.job_id
            self.watched.add(start.run_id)
        self.save()
        whole = submitted[0].job_id.partition("_")[0]
        waits = f", after {', '.join(after)}" if after else ""
        self.say(f"SLURM job {whole}: {len(group)} runs, at most {limit} minutes each{waits}")

    def _parameters(self, folder: Path, after: list[str]) -> dict[str, Any]:
        chosen: dict[str, Any] = {"requeue": True, "chdir": str(folder), **self.wishes.sbatch}
        if self.device.type == "cuda" and not any(re.match("gpus|gres", name) for name in chosen):
            chosen["gpus_per_node"] = 1
        if after:
            chosen["dependency"] = "afterok:" + ":".join(after)
            chosen["kill_on_invalid_dep"] = "yes"
        return chosen

    def _queue(self) -> set[str] | None:
        """Numbers of this user's jobs that wait, run or end; None where SLURM does not answer."""
        try:
            done = subprocess.run(
                ["squeue", "--me", "--noheader", "--array", "--format=%i"],
                capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return set(done.stdout.split())

    def ended(self) -> dict[str, End]:
        """Runs whose jobs left the queue. What each came to is in the file of its job."""
        queued = self._queue() if self.watched else set()
        if queued is None:
            return {}
        ends = {}
        for run_id in self.watched:
            if self.numbers[run_id] in queued:
                self.missing.pop(run_id, None)
                continue
            job = jobs.read_job(self.results, run_id) or jobs.JobFile(state="queued")
            first = self.missing.setdefault(run_id, time.monotonic())
            if job.state in ("done", "failed"):
                ends[run_id] = End(0 if job.state == "done" else None, job.error)
            elif job.state == "stopped" or time.monotonic() - first > GRACE:
                ends[run_id] = End(None, self._lost(run_id, job))
        self.watched -= ends.keys()
        return ends

    def _lost(self, run_id: str, job: jobs.JobFile) -> str:
        """Say that SLURM ended a job before the run had ended."""
        text = f"SLURM ended its job {self.numbers[run_id]}"
        text += f" ({job.error})" if job.error else " (cancelled, out of time or a lost node)"
        if job.state == "queued" and not job.requeues:
            return f"{text} before it began"
        jobs.write_job(self.results, run_id, job.model_copy(update={"state": "stopped"}))
        return f"{text}; the same sweep takes it up again"

    def close(self) -> None:
        """Leave the jobs to SLURM."""
        if self.watched:
            self.say(
                f"{len(self.watched)} runs go on without this sweep: `bench status` shows them, "
                "`bench cancel` ends them, the same `bench sweep` collects them"
            )


def time_limit(seconds: float) -> int:
    """Minutes for a training that takes about so many seconds, loading and scoring included."""
    return 30 + math.ceil(2 * seconds / 60)


def cancel(numbers: Iterable[str]) -> None:
    """Take jobs out of the queue, running ones too. BenchError where SLURM does not."""
    try:
        subprocess.run(["scancel", *numbers], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"scancel: {_reason(error)}.") from error


def _setup() -> list[str]:
    """Lines of the job's script before its command.

    The job finds this code, installed or not; and its one step gets all CPUs of the job, which
    srun no longer gives it by itself.
    """
    path = [str(Path(harness.__file__).resolve().parents[1]), *(p for p in sys.path if p)]
    return [
        f"export PYTHONPATH={shlex.quote(':'.join(dict.fromkeys(path)))}",
        'if [ -n "$SLURM_CPUS_PER_TASK" ]; then '
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"; fi',
    ]


def _reason(error: BaseException) -> str:
    text = getattr(error, "stderr", None) or in_one_line(error)
    return " ".join(str(text).split()).removeprefix("sbatch: error: ")
