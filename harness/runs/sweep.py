"""A suite as runs in the right order: teachers first and shared, done runs reused, N at a time."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.config.schema import Suite
from harness.measure.environment import choose_device
from harness.records import store
from harness.report.progress import Reporter
from harness.runs.graph import Job, announce, planned_jobs, ready, skip_orphans
from harness.runs.launchers import Task, command
from harness.runs.run import check_data, measured_speed
from harness.runs.training import build_method
from harness.runs.workplace import Workplace, failed_record, record_of
from methods.networks import zoo


def sweep(
    suite: Suite,
    results: Path,
    report: Reporter,
    *,
    data_root: Path | None = None,
    device: str | None = None,
    jobs: int = 1,
    fresh: bool = False,
    keep_other_code: bool = False,
) -> dict[str, Job]:
    """Run a suite, each run in a process of its own, and return what became of every run.

    Runs that are done are reused unless `fresh`; those that other code made are run again, unless
    `keep_other_code`. A run that fails leaves its record, and stops only the runs that need its
    weights.
    """
    workplace = Workplace(results, choose_device(device), report, keep_other_code, jobs)
    planned, others = planned_jobs(suite, workplace, data_root, fresh)
    (results / "records").mkdir(parents=True, exist_ok=True)
    prepare_data(planned, report)
    announce(suite, planned, others, workplace)
    _measure_inference(planned, workplace)
    running: dict[str, subprocess.Popen[bytes]] = {}
    with tempfile.TemporaryDirectory() as scratch, _ending(running):
        while True:
            skip_orphans(planned)
            for run_id in ready(planned)[: jobs - len(running)]:
                running[run_id] = _start(planned[run_id], Path(scratch), workplace, fresh)
                planned[run_id].state = "running"
            if not running:
                return planned
            time.sleep(0.2)
            for run_id, process in list(running.items()):
                if process.poll() is not None:
                    del running[run_id]
                    _finish(planned[run_id], process.returncode, workplace)
                    left = sum(j.state in ("waiting", "running") for j in planned.values())
                    report.say(f"{_line(planned[run_id], workplace)}  ({left} left)")


@contextmanager
def _ending(running: dict[str, subprocess.Popen[bytes]]) -> Iterator[None]:
    """Leave no run behind when the sweep itself is interrupted, by Ctrl-C or by SIGTERM."""
    in_main = threading.current_thread() is threading.main_thread()  # others take no signals
    before = signal.signal(signal.SIGTERM, _exit) if in_main else None
    try:
        yield
    finally:
        for process in running.values():
            process.terminate()
        if in_main:
            signal.signal(signal.SIGTERM, before)
        for process in running.values():
            process.wait()


def _exit(number: int, _: object) -> None:
    raise SystemExit(128 + number)  # the shell's code for a process that the signal ended


def prepare_data(planned: dict[str, Job], report: Reporter) -> None:
    """Generate and check each data set once, before several runs ask for it at a time."""
    seen = set()
    for job in planned.values():
        key = (job.plan.spec.source, job.plan.spec.target)
        if job.state == "waiting" and key not in seen:
            seen.add(key)
            if job.plan.sources.notice:
                report.say(f"{job.plan.spec.scenario.title}: {job.plan.sources.notice}")
            check_data(job.plan, report)


def _measure_inference(planned: dict[str, Job], workplace: Workplace) -> None:
    """Time each network once, before anything else runs beside it."""
    timed = set()
    for job in planned.values() if workplace.side_by_side > 1 else ():
        plan, spec = job.plan, job.plan.spec
        size = spec.profile.image_size[spec.target.dataset]
        alike = (spec.method, spec.student, size, spec.profile.precision, spec.profile.threads)
        if job.state != "waiting" or alike in timed:
            continue
        timed.add(alike)
        # A method may make more of the network asked for.
        teachers = [zoo.build(teacher.network) for teacher in plan.teachers]
        network = build_method(plan, zoo.build(spec.student), teachers).student.name
        measured_speed(network, plan, workplace)


def _start(job: Job, scratch: Path, workplace: Workplace, fresh: bool) -> subprocess.Popen[bytes]:
    run_id = job.plan.spec.run_id
    task = Task.of(
        job.plan,
        workplace.results,
        device=str(workplace.device),
        fresh=fresh and job.trains,
        keep_other_code=workplace.keep_other_code,
        side_by_side=workplace.side_by_side,
    )
    path = scratch / f"{run_id}.json"
    path.write_text(task.model_dump_json(), encoding="utf-8")
    logs = workplace.results / "artifacts" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for stale in (workplace.results / "records").glob(f"*-{run_id}.failed.json"):
        stale.unlink()  # what an earlier try died of is not what this one may die of
    with (logs / f"{run_id}.txt").open("wb") as log:
        return subprocess.Popen(command(path), stdout=log, stderr=log)


def _finish(job: Job, code: int, workplace: Workplace) -> None:
    """Take the run's outcome from its record; of a process without one, its log's last line."""
    results = workplace.results
    done = record_of(job.plan, workplace)
    if code == 0 and done:
        job.state = "done"
        return
    job.state = "failed"
    failed = record_of(job.plan, workplace, "failed")
    log = results / "artifacts" / "logs" / f"{job.plan.spec.run_id}.txt"
    last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    job.error = (failed and failed.error) or f"exit code {code}: {last} (see {log})"
    if not failed and not done:
        store.write(
            failed_record(job.plan, f"exit code {code}: {last}", workplace), results / "records"
        )


def _line(job: Job, workplace: Workplace) -> str:
    text = f"{job.state}: {job.name}"
    if job.error:
        return f"{text}: {job.error}"
    record = record_of(job.plan, workplace)
    if record and record.metrics and record.cost:
        text += f"  mIoU {record.metrics.student.miou:.1f}  {record.cost.wall_seconds:.0f} s"
    return text
