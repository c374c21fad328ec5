"""A suite carried out: its runs in the right order, by processes of this machine or by SLURM."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from harness.config.schema import Suite
from harness.errors import BenchError
from harness.measure.environment import choose_device
from harness.records import store
from harness.report.cells import number
from harness.report.progress import Reporter
from harness.runs import jobs as kept
from harness.runs.graph import Job, announce, labels, planned_jobs, ready, skip_orphans
from harness.runs.launchers import End, Launcher, Local, Start, Task, dealt_gpus, visible_gpus
from harness.runs.outlook import training_seconds
from harness.runs.run import measured_speed
from harness.runs.slurm import Slurm, SlurmOptions
from harness.runs.stage import before_training, optional
from harness.runs.sweep_progress import SweepProgress
from harness.runs.trained import tidy
from harness.runs.training import build_method, check_data
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
    slurm: SlurmOptions | None = None,
    fresh: bool = False,
    keep_other_code: bool = False,
) -> dict[str, Job]:
    """Run a suite, each run in a process of its own, and return what became of every run.

    They are processes of this machine, `jobs` at a time and one a GPU; with `slurm`, jobs of that
    queue, where those that an earlier sweep left are taken over. Runs that are done are reused
    unless `fresh`; those that other code made are run again, unless `keep_other_code`. A run that
    fails leaves its record, and stops only the runs that need its weights. A signal is sent on to
    the processes, whose end is waited for, and leaves SLURM's jobs alone; Interrupted then.
    """
    chosen = _slurm_device(device) if slurm else choose_device(device)
    workplace = Workplace(results, chosen, report, keep_other_code, fresh, side_by_side=jobs)
    launcher: Launcher
    if slurm:
        launcher = Slurm(results, slurm, suite.name, chosen, report.say)
    else:
        gpus = dealt_gpus(str(chosen), jobs, visible_gpus())
        launcher = Local(results, jobs, gpus, workplace.stop)
    with workplace.stop.listening():
        return _sweep(suite, workplace, launcher, data_root, fresh)


def _sweep(
    suite: Suite, workplace: Workplace, launcher: Launcher, data_root: Path | None, fresh: bool
) -> dict[str, Job]:
    results, report, stop = workplace.results, workplace.report, workplace.stop
    begun = kept.now()
    planned, others = planned_jobs(suite, workplace, data_root, fresh)
    (results / "records").mkdir(parents=True, exist_ok=True)
    for run_id, job in planned.items():
        if job.state == "reused":
            tidy(workplace.weights(job.plan.spec.weights_id), run_id)
    with before_training("preparing the data", workplace):
        prepare_data(planned, report)
    announce(suite, planned, others, workplace)
    _measure_inference(planned, workplace)
    if isinstance(launcher, Slurm):
        _adopt(launcher, planned, report)
        if not launcher.wishes.minutes:
            launcher.seconds = _seconds(planned, workplace.device)
    path = kept.sweep_path(results, suite.name, list(planned))
    launcher.save = lambda: kept.write_sweep(path, _described(suite, planned, launcher, begun))
    if any(job.state != "reused" for job in planned.values()) or not path.exists():
        launcher.save()
    with _ending(launcher), stop.held():
        _carry_out(planned, launcher, workplace, path, fresh)
        if stop.number and isinstance(launcher, Local):
            report.say(f"sweep interrupted: {_counts(planned)}; {_same(workplace)} goes on")
    return planned


def _carry_out(
    planned: dict[str, Job], launcher: Launcher, workplace: Workplace, path: Path, fresh: bool
) -> None:
    """Have every waiting run carried out; the sweep's file in `path` tells that this works."""
    with workplace.report.sweeping() as show:
        progress = SweepProgress(planned, workplace.results, show)
        _work_through(planned, launcher, workplace, path, fresh, progress)


def _work_through(
    planned: dict[str, Job],
    launcher: Launcher,
    workplace: Workplace,
    path: Path,
    fresh: bool,
    progress: SweepProgress,
) -> None:
    beaten = time.monotonic()
    while True:
        skip_orphans(planned)
        chosen = [] if workplace.stop.number else ready(planned, launcher.free())
        starts = [_start(planned, run_id, workplace, fresh) for run_id in chosen]
        for run_id in chosen:
            planned[run_id].state = "running"
        launcher.start(starts)
        if not any(job.state == "running" for job in planned.values()):
            return
        progress.tell()
        time.sleep(launcher.interval)
        if workplace.stop.number and isinstance(launcher, Slurm):
            return  # its jobs go on
        ends = launcher.ended()
        for run_id in [run_id for run_id in planned if run_id in ends]:
            _finish(planned, run_id, ends[run_id], workplace)
            left = sum(j.state in ("waiting", "running") for j in planned.values())
            workplace.report.say(f"{_line(planned[run_id], workplace)}  ({left} left)")
        if time.monotonic() - beaten > kept.BEAT:
            beaten = time.monotonic()
            kept.beat(path)


@contextmanager
def _ending(launcher: Launcher) -> Iterator[None]:
    """Leave no run of this machine behind when the sweep itself ends before they do."""
    try:
        yield
    finally:
        launcher.close()


def _slurm_device(name: str | None) -> torch.device:
    """The device of SLURM's jobs: a machine that submits them may have no GPU."""
    if name not in (None, "cpu", "cuda"):
        raise BenchError(f"--device {name}: with --launcher slurm expected cpu or cuda.")
    return torch.device(name or "cuda")


def _adopt(queue: Slurm, planned: dict[str, Job], report: Reporter) -> None:
    """Mark the runs that an earlier sweep left in SLURM's queue as running."""
    adopted = queue.adopt(run_id for run_id, job in planned.items() if job.state == "waiting")
    for run_id in adopted:
        planned[run_id].state = "running"
    if adopted:
        report.say(f"{len(adopted)} runs are in SLURM's queue already: taken over")


def _seconds(planned: dict[str, Job], device: torch.device) -> dict[str, float]:
    """About how long each training takes. BenchError where one cannot be timed here."""
    waiting = {i: job for i, job in planned.items() if job.state == "waiting" and job.trains}
    seconds = training_seconds(waiting, device)
    known = {run_id: value for run_id, value in seconds.items() if value is not None}
    if len(known) < len(seconds):
        raise BenchError(
            f"--launcher slurm: {len(seconds) - len(known)} of {len(seconds)} trainings cannot be "
            "timed on this machine to give their jobs a time limit; expected --time, such as "
            "--time 12:00:00."
        )
    return known


def _described(suite: Suite, planned: dict[str, Job], launcher: Launcher, begun: str) -> kept.Sweep:
    """The sweep as `bench status` shows it."""
    rows = labels(planned)
    return kept.Sweep(
        suite=suite.name,
        launcher="slurm" if isinstance(launcher, Slurm) else "local",
        created=begun,
        process=kept.Process.of(os.getpid()),
        runs=[
            kept.SweptRun(
                run_id=run_id,
                weights_id=job.plan.spec.weights_id,
                label=rows[run_id],
                scenario=job.plan.spec.scenario.name,
                seed=job.plan.spec.seed,
                steps=job.plan.spec.profile.iterations,
                waits=job.state != "reused",
                needs=sorted(job.needs),
                slurm=launcher.numbers.get(run_id),
            )
            for run_id, job in planned.items()
        ],
    )


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
        with optional(
            f"inference speed of {spec.student}", workplace.report
        ):  # its run tries again
            # A method may make more of the network asked for.
            classes = len(plan.classes)
            teachers = [zoo.build(teacher.network, classes) for teacher in plan.teachers]
            network = build_method(plan, zoo.build(spec.student, classes), teachers).student.name
            measured_speed(network, plan, workplace)


def _start(planned: dict[str, Job], run_id: str, workplace: Workplace, fresh: bool) -> Start:
    """What a launcher is to know of a run; what an earlier try of it left is cleared away."""
    job = planned[run_id]
    task = Task.of(
        job.plan,
        workplace.results,
        device=str(workplace.device),
        fresh=fresh and job.trains,
        keep_other_code=workplace.keep_other_code,
        side_by_side=workplace.side_by_side,
    )
    for stale in (workplace.results / "records").glob(f"*-{run_id}.failed.json"):
        stale.unlink(missing_ok=True)  # what an earlier try died of is not what this one may die of
    needs = frozenset(n for n in job.needs if planned[n].state not in ("done", "reused"))
    return Start(task, needs)


def _finish(planned: dict[str, Job], run_id: str, end: End, workplace: Workplace) -> None:
    """Take the run's outcome from its record; of a process without one, what its end tells."""
    job = planned[run_id]
    done = record_of(job.plan, workplace)
    if end.code == 0 and done:
        job.state = "done"
        return
    if end.interrupted:
        job.state, job.error = "interrupted", f"{_same(workplace)} goes on from what it has kept"
        return
    job.state = "waiting"
    skip_orphans(planned)  # SLURM drops the jobs of those whose frozen teacher failed
    if planned[run_id].state == "skipped":
        return
    job.state = "failed"
    failed = record_of(job.plan, workplace, "failed")
    job.error = (failed and failed.error) or end.error
    if end.code is not None and not failed and not done:
        record = failed_record(job.plan, end.error.partition(" (see ")[0], workplace)
        store.write(record, workplace.results / "records")


def _counts(planned: dict[str, Job]) -> str:
    """How many runs are done, how many interrupted, and how many have failed, where some have."""
    states = [job.state for job in planned.values()]
    counts = {state: states.count(state) for state in ("done", "interrupted", "failed")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n or state != "failed")


def _same(workplace: Workplace) -> str:
    """The command that goes on with what a sweep has left."""
    return f"the same command{' without --fresh' * workplace.fresh}"


def _line(job: Job, workplace: Workplace) -> str:
    text = f"{job.state}: {job.name}"
    if job.error:
        return f"{text}: {job.error}"
    record = record_of(job.plan, workplace)
    if record and record.metrics and record.cost:
        text += (
            f"  mIoU {number(record.metrics.student.miou, '.1f')}  {record.cost.wall_seconds:.0f} s"
        )
    return text
