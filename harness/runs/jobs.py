"""What a sweep keeps in the results folder while it works: its runs, and how far each has come."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.files import content_hash, read_text, this_machine, write_text

#: Seconds between two signs of life, which are the times of files, and after which one is missed:
#: a network file system may show a file's time a minute late.
BEAT, SILENCE = 15.0, 180.0

RunId = Field(pattern=r"^[0-9a-f]{10}$")  # it becomes a file's name


class FileModel(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Process(FileModel):
    """A process of some machine."""

    host: str
    pid: int = Field(gt=1)
    started: float = Field(description="seconds since 1970, as the system tells")
    since_boot: float | None = Field(
        default=None, description="seconds; on Linux, where setting the clock moves `started`"
    )
    machine: str = Field(default="", description="where the number is its own: host, container")

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process of that number on this machine, which must run."""
        process = psutil.Process(pid)
        return cls(
            host=socket.gethostname(),
            pid=pid,
            started=process.create_time(),
            since_boot=_since_boot(process),
            machine=this_machine(),
        )

    def runs(self) -> bool | None:
        """Whether it runs; None of another machine's, or of another container's."""
        if self.host != socket.gethostname() or self.machine not in ("", this_machine()):
            return None
        try:
            process = psutil.Process(self.pid)
            if self.since_boot is None:
                apart = process.create_time() - self.started
            else:
                apart = (_since_boot(process) or 0) - self.since_boot
            return abs(apart) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def _since_boot(process: psutil.Process) -> float | None:
    """Seconds from the machine's start to the process's, where `create_time` adds them up."""
    return process.create_time() - psutil.boot_time() if psutil.LINUX else None


class SweptRun(FileModel):
    """One run of a sweep."""

    run_id: str = RunId
    weights_id: str = RunId
    label: str = Field(description="the row of `bench status`")
    scenario: str
    seed: int
    steps: int
    waits: bool = Field(description="it was not done when the sweep began")
    needs: list[str] = []
    slurm: str | None = Field(
        default=None, pattern=r"^\d+(_\d+)?$", description="number of its job"
    )


class Sweep(FileModel):
    """What one call of `bench sweep` was asked for, and who carries it out."""

    suite: str
    launcher: Literal["local", "slurm"]
    created: str = Field(description="UTC, ISO 8601")
    process: Process
    runs: list[SweptRun]


class JobFile(FileModel):
    """One run as the process that watches over its worker sees it."""

    state: Literal["queued", "running", "stopped", "failed", "done"]
    process: Process | None = None
    since: float = Field(default=0, description="seconds since 1970 when the worker was started")
    error: str = ""
    requeues: int = Field(default=0, description="times that it was queued again")
    best_step: int = Field(default=0, description="the last step that any try has logged")
    in_vain: int = Field(default=0, description="tries in a row that came no further than the best")


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def sweep_path(results: Path, suite: str, run_ids: list[str]) -> Path:
    """The file of a sweep: the same suite of the same runs has the same one."""
    name = re.sub(r"[^\w.+]+", "_", suite)
    return results / "artifacts" / "sweeps" / f"{name}-{content_hash(sorted(run_ids))}.json"


def write_sweep(path: Path, sweep: Sweep) -> None:
    write_text(path, sweep.model_dump_json(indent=1))


def read_sweeps(results: Path, suite: str | None = None) -> list[tuple[Path, Sweep]]:
    """The sweeps of a results folder, or those of one suite, the newest first."""
    sweeps = []
    for path in (results / "artifacts" / "sweeps").glob("*.json"):
        with suppress(OSError, ValidationError, ValueError):  # half a file, none, or no sweep's
            sweep = Sweep.model_validate_json(read_text(path))
            if suite in (None, sweep.suite):
                sweeps.append((path, sweep))
    return sorted(sweeps, key=lambda item: item[1].created, reverse=True)


def job_path(results: Path, run_id: str) -> Path:
    return results / "artifacts" / "jobs" / f"{run_id}.json"


def task_path(results: Path, run_id: str) -> Path:
    return job_path(results, run_id).with_suffix(".task")


def log_path(results: Path, run_id: str) -> Path:
    """What the worker of a run prints."""
    return results / "artifacts" / "logs" / f"{run_id}.txt"


def last_line(log: Path) -> str:
    """The last line that a worker printed; empty where there is none."""
    with suppress(OSError):
        for line in _backwards(log):
            if text := line.decode(errors="replace").strip():
                return text
    return ""


def write_job(results: Path, run_id: str, job: JobFile) -> None:
    write_text(job_path(results, run_id), job.model_dump_json())


def read_job(results: Path, run_id: str) -> JobFile | None:
    """How a run stands, None where no sweep has started it."""
    try:
        return JobFile.model_validate_json(read_text(job_path(results, run_id)))
    except (OSError, ValidationError, ValueError):
        return None


def beat(path: Path) -> None:
    """Say that the process which keeps this file is at work."""
    with suppress(OSError):
        os.utime(path)


def is_alive(path: Path, process: Process | None) -> bool:
    """Whether the process that keeps this file is at work, as far as can be told from here."""
    if process and process.runs() is False:
        return False
    try:
        return datetime.now(timezone.utc).timestamp() - path.stat().st_mtime < SILENCE
    except OSError:
        return False


def last_step(results: Path, weights_id: str, since: float = 0) -> int | None:
    """The last step in a training's log; None where nothing was logged after `since`."""
    log = results / "artifacts" / weights_id / "log.jsonl"
    try:
        if log.stat().st_mtime < since:
            return None
        for line in _backwards(log):
            with suppress(ValueError, KeyError, TypeError):
                return int(json.loads(line)["step"])
    except OSError:
        pass
    return None


def _backwards(path: Path, size: int = 1 << 16) -> Iterator[bytes]:
    """The last lines of a file, the last one first; none of what is no file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        yield from reversed(file.read().splitlines())
