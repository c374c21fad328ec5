"""A run as a SLURM job: its worker is watched, and queued again where it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from harness.errors import GOES_ON
from harness.files import read_text, write_text
from harness.processes import ending
from harness.runs.jobs import (
    BEAT,
    JobFile,
    Process,
    beat,
    job_path,
    last_line,
    last_step,
    log_path,
    read_job,
    task_path,
    write_job,
)
from harness.runs.launchers import Task, command

#: A run that was stopped so many times in a row, and logged no further step, is given up.
TRIES = 3


def carry_out(results: str, run_id: str) -> None:
    """Carry out a run in a process of its own; called in the SLURM job, by submitit.

    SLURM signals every process of the job: USR2 a while before the time limit, TERM where the job
    is cancelled or pre-empted. The worker sees to its own end. One that exits with GOES_ON, or that
    a signal ended, is queued again. After TERM it is not: a cancelled job stays cancelled, and one
    that was pre-empted is queued again by SLURM itself. SystemExit(1) where the run failed.
    """
    terminated = []
    signal.signal(signal.SIGUSR2, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(True))
    folder = Path(results)
    before = read_job(folder, run_id) or JobFile(state="queued")
    _keep_what_it_began(folder, run_id)
    code = _watch(folder, run_id, before)
    after = verdict(folder, run_id, before, code, bool(terminated))
    write_job(folder, run_id, after)
    print(f"run {run_id}: {after.state}{after.error and ': '}{after.error}", flush=True)
    if after.state == "queued":
        _requeue(folder, run_id, after)
    if after.state != "done":
        raise SystemExit(1)


def _keep_what_it_began(results: Path, run_id: str) -> None:
    """Where an earlier try of this job has left weights or a state, --fresh has been obeyed."""
    path = task_path(results, run_id)
    task = Task.model_validate_json(read_text(path))
    folder = results / "artifacts" / task.spec.weights_id
    left = [folder / "training.json", *folder.glob("checkpoints/step-*")]
    queued = path.stat().st_mtime
    if task.fresh and any(file.exists() and file.stat().st_mtime >= queued for file in left):
        write_text(path, task.model_copy(update={"fresh": False}).model_dump_json())


def _watch(results: Path, run_id: str, before: JobFile) -> int:
    """Start the worker, and send a heartbeat until it ends -> its exit code."""
    log = log_path(results, run_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    since = time.time()
    with log.open("ab" if before.requeues else "wb") as file:
        worker = subprocess.Popen(
            command(task_path(results, run_id)),
            stdout=file,
            stderr=file,
            cwd=os.environ.get("SLURM_SUBMIT_DIR"),  # what paths are relative to
        )
    running = before.model_copy(
        update={"state": "running", "process": Process.of(worker.pid), "since": since, "error": ""}
    )
    write_job(results, run_id, running)
    while True:
        try:
            return worker.wait(timeout=BEAT)
        except subprocess.TimeoutExpired:
            beat(job_path(results, run_id))


def verdict(results: Path, run_id: str, before: JobFile, code: int, terminated: bool) -> JobFile:
    """What becomes of a run whose worker ended with that exit code; below 0: by that signal."""
    task = Task.model_validate_json(task_path(results, run_id).read_text(encoding="utf-8"))
    step = last_step(results, task.spec.weights_id) or 0
    further = step > before.best_step
    counted = before.model_copy(
        update={
            "best_step": max(step, before.best_step),
            "in_vain": 0 if further else before.in_vain + 1,
            "process": None,
            "error": "",
        }
    )
    log = log_path(results, run_id)
    if code == 0:
        return counted.model_copy(update={"state": "done"})
    if code != GOES_ON and code > 0:
        error = ending(code, last_line(log))
        return counted.model_copy(update={"state": "failed", "error": error})
    reason = f"stopped at step {step} of {task.spec.profile.iterations}"
    if code < 0:
        reason += f", {ending(code)}"
    if terminated:
        return before.model_copy(update={"state": "stopped", "process": None, "error": reason})
    if counted.in_vain >= TRIES:
        error = f"{TRIES} times in a row {reason}; expected it to come further. See {log.name}"
        return counted.model_copy(update={"state": "failed", "error": error})
    requeued = {"state": "queued", "requeues": before.requeues + 1, "error": reason}
    return counted.model_copy(update=requeued)


def _requeue(results: Path, run_id: str, job: JobFile) -> None:
    """Put this job back into the queue, which ends it. Where SLURM refuses, the run has failed."""
    done = subprocess.run(
        ["scontrol", "requeue", _own_number()], capture_output=True, text=True, check=False
    )
    if done.returncode:
        error = f"{job.error}; SLURM does not queue it again: {done.stderr.strip()}"
        write_job(results, run_id, job.model_copy(update={"state": "failed", "error": error}))
        return
    time.sleep(60)  # until SLURM ends this process


def _own_number() -> str:
    array, index = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]
