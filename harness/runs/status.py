"""How far the runs of a sweep have come, from the files in the results folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from harness.errors import BenchError
from harness.records import store
from harness.records.schema import Record
from harness.report.cells import number
from harness.runs import jobs
from harness.runs.jobs import JobFile, Sweep, SweptRun

#: "open": not done, and nobody is at it.
State = Literal["done", "running", "waiting", "stopped", "failed", "skipped", "open"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Standing:
    """How one run stands."""

    state: State
    text: str  # the cell of the matrix
    detail: str = ""  # what a line below the matrix says


def standings(results: Path, path: Path, sweep: Sweep) -> dict[str, Standing]:
    """How each run of a sweep stands, by run_id; `path` is the sweep's own file."""
    records = _records(results, {run.run_id for run in sweep.runs})
    at_work = sweep.launcher == "slurm" or jobs.is_alive(path, sweep.process)
    stands = {
        run.run_id: _standing(run, sweep, results, records.get(run.run_id), at_work)
        for run in sweep.runs
    }
    for run in sweep.runs:  # teachers stand before their students
        lost = [n for n in run.needs if n in stands and stands[n].state in ("failed", "skipped")]
        if lost and stands[run.run_id].state in ("waiting", "open"):
            stands[run.run_id] = Standing("skipped", "skipped", "its frozen teacher failed")
    return stands


def _standing(
    run: SweptRun, sweep: Sweep, results: Path, record: Record | None, at_work: bool
) -> Standing:
    job = jobs.read_job(results, run.run_id)
    alive = jobs.is_alive(jobs.job_path(results, run.run_id), job.process) if job else False
    if job and job.state == "running" and alive:
        return Standing("running", _progress(run, job, results))
    # A record from before the sweep is what this one replaces.
    current = record is not None and not (run.waits and _older(record, sweep))
    if record and current and record.state == "done" and record.metrics:
        return Standing("done", number(record.metrics.student.miou, ".1f"))
    if record and current and record.state == "failed":
        return Standing("failed", "failed", record.error or "")
    if job and job.state == "failed":
        return Standing("failed", "failed", job.error)
    queued = run.waits and at_work and (sweep.launcher == "local" or run.slurm is not None)
    if job and job.state == "queued" and job.requeues and queued:
        text = f"waiting ({job.best_step}/{run.steps})"
        return Standing("waiting", text, f"queued again: {job.error}")
    if job and job.state in ("running", "stopped"):
        step = jobs.last_step(results, run.weights_id) or 0
        return Standing("stopped", f"stopped {step}/{run.steps}", job.error)
    return Standing("waiting", "waiting") if queued else Standing("open", "-")


def _progress(run: SweptRun, job: JobFile, results: Path) -> str:
    """What a running worker is at: before its first step, at a step, or after its last."""
    trained = results / "artifacts" / run.weights_id / "training.json"
    if trained.is_file() and trained.stat().st_mtime >= job.since:
        return "scoring"
    step = jobs.last_step(results, run.weights_id, since=job.since)
    return "running" if step is None else f"step {step}/{run.steps}"


def _older(record: Record, sweep: Sweep) -> bool:
    try:
        return datetime.fromisoformat(record.created) < datetime.fromisoformat(sweep.created)
    except (TypeError, ValueError):
        return False


def _records(results: Path, run_ids: set[str]) -> dict[str, Record]:
    """The records of these runs, a done one before a failed one."""
    records: dict[str, Record] = {}
    for path in (results / "records").glob("*.json"):
        run_id = path.name.removesuffix(".json").removesuffix(".failed").rpartition("-")[2]
        if run_id not in run_ids:
            continue
        try:
            record = store.read(path)
        except BenchError:  # half a file, or gone since
            continue
        if record.run_id == run_id and (record.state == "done" or run_id not in records):
            records[run_id] = record
    return records
