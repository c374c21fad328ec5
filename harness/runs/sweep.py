"""A suite as runs in its order: teachers before students, shared; done runs reused, N at a time."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.config.planning import Plan, resolve
from harness.config.schema import Suite
from harness.config.suites import requests
from harness.measure.environment import choose_device
from harness.records import store
from harness.report.progress import Reporter, hashing_shown
from harness.runs.launchers import Task, command
from harness.runs.run import check_data, measured_speed
from harness.runs.teachers import is_usable
from harness.runs.training import build_method
from harness.runs.workplace import Workplace, failed_record, is_current, record_of
from methods.networks import zoo

State = Literal["waiting", "running", "done", "reused", "failed", "skipped"]


@dataclass
class Job:
    """One run of a sweep, and the runs that must be done before it."""

    plan: Plan
    needs: set[str] = field(default_factory=set)  # run_ids of its frozen teachers
    trains: bool = True  # its weights; else it scores those of a run that it needs
    wanted: bool = False  # asked for by the suite; else only a teacher of one that is
    state: State = "waiting"
    error: str = ""

    @property
    def name(self) -> str:
        spec = self.plan.spec
        networks = [network["network"] for network in (*spec.teachers, *spec.companions)]
        teacher = f" <- {' + '.join(networks)}" if networks else ""
        return f"{spec.method} {spec.student}{teacher}, {spec.scenario.name}, seed {spec.seed}"


def plan_jobs(plans: list[Plan]) -> dict[str, Job]:
    """One job a run by run_id, and one for each frozen teacher, which several may share.

    Of runs that share their weights the first trains them, and the others wait for it: one
    training job a weights_id.
    """
    jobs: dict[str, Job] = {}

    makers: dict[str, str] = {}  # weights_id -> the run that trains those weights

    def add(plan: Plan) -> str:
        needs = {
            makers.get(teacher.plan.spec.weights_id) or add(teacher.plan)
            for teacher in plan.teachers
            if teacher.plan
        }
        run_id = plan.spec.run_id
        maker = makers.setdefault(plan.spec.weights_id, run_id)
        if run_id not in jobs:
            trains = maker == run_id
            jobs[run_id] = Job(plan, needs if trains else needs | {maker}, trains=trains)
        return run_id

    for plan in plans:
        jobs[add(plan)].wanted = True
    return jobs


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
    _prepare_data(planned, report)
    announce(suite, planned, others, workplace)
    _measure_inference(planned, workplace)
    running: dict[str, subprocess.Popen[bytes]] = {}
    with tempfile.TemporaryDirectory() as scratch, _ending(running):
        while True:
            _skip_orphans(planned)
            for run_id in _ready(planned)[: jobs - len(running)]:
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


def planned_jobs(
    suite: Suite, workplace: Workplace, data_root: Path | None, fresh: bool = False
) -> tuple[dict[str, Job], int]:
    """The jobs of a suite, those that need not run marked `reused` -> they, and how many of the
    runs are done, but by other code."""
    with hashing_shown():
        planned = plan_jobs([resolve(request, data_root) for request in requests(suite)])
    return planned, 0 if fresh else _reuse(planned, workplace)


def announce(suite: Suite, planned: dict[str, Job], others: int, workplace: Workplace) -> None:
    """Say how many runs there are, and how many of them need not run."""
    done = sum(job.state == "reused" for job in planned.values())
    workplace.report.say(f"{suite.name}: {len(planned)} runs, {done} done before")
    if others:
        workplace.report.say(
            f"{others} runs were done by other code, another torch or on another kind of device: "
            + ("kept" if workplace.keep_other_code else "run again (--keep-other-code keeps them)")
        )


def _reuse(planned: dict[str, Job], workplace: Workplace) -> int:
    """Mark what need not run again -> runs that are done, but by other code.

    That is a run with a done record, and a teacher found trained. A teacher that a waiting run
    needs must have its weights here, record or not. Weights trained for another target serve too,
    where the training never saw one.
    """
    done, others = set(), 0
    for run_id, job in planned.items():
        record = record_of(job.plan, workplace)
        current = record is not None and is_current(record, job.plan, workplace)
        others += record is not None and not current
        if current or (record is not None and workplace.keep_other_code):
            done.add(run_id)
    needed = {n for run_id, job in planned.items() if run_id not in done for n in job.needs}
    for run_id, job in planned.items():
        if run_id in needed and not is_usable(job.plan, workplace):
            continue
        if run_id in done or not job.wanted:
            job.state = "reused"
    return others


def _prepare_data(planned: dict[str, Job], report: Reporter) -> None:
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


def _skip_orphans(planned: dict[str, Job]) -> None:
    for job in planned.values():
        lost = [n for n in job.needs if planned[n].state in ("failed", "skipped")]
        if job.state == "waiting" and lost:
            job.state, job.error = "skipped", f"its frozen teacher failed: {planned[lost[0]].name}"


def _ready(planned: dict[str, Job]) -> list[str]:
    """Runs that can start now, in the suite's order: a frozen teacher right before who needs it.

    So a sweep that is cut short holds whole comparisons, and not the teachers of all seeds.
    """
    return [
        run_id
        for run_id, job in planned.items()
        if job.state == "waiting"
        and all(planned[need].state in ("done", "reused") for need in job.needs)
    ]


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
