"""The runs of a suite as a graph: teachers before their students, each training once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.analysis.variants import shown, spelled
from harness.config.planning import Plan, resolve
from harness.config.schema import CHANGE_NO_FIGURE, Suite
from harness.config.suites import requests
from harness.report.progress import hashing_shown
from harness.runs.teachers import is_usable
from harness.runs.workplace import Workplace, is_current, record_of

State = Literal["waiting", "running", "done", "reused", "failed", "interrupted", "skipped"]
#: What a run that needs their weights can no longer have.
LOST = ("failed", "interrupted", "skipped")


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
    def row(self) -> str:
        """Its method and networks."""
        spec = self.plan.spec
        networks = [network["network"] for network in (*spec.teachers, *spec.companions)]
        teacher = f" <- {' + '.join(networks)}" if networks else ""
        return f"{spec.method} {spec.student}{teacher}"

    @property
    def name(self) -> str:
        return f"{self.row}, {self.plan.spec.scenario.name}, seed {self.plan.spec.seed}"


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


def planned_jobs(
    suite: Suite, workplace: Workplace, data_root: Path | None, fresh: bool = False
) -> tuple[dict[str, Job], int]:
    """The jobs of a suite, those that need not run marked `reused` -> they, and how many of the
    runs are done, but by other code."""
    with hashing_shown():
        planned = plan_jobs([resolve(request, data_root) for request in requests(suite)])
    return planned, 0 if fresh else mark_reused(planned, workplace)


def announce(suite: Suite, planned: dict[str, Job], others: int, workplace: Workplace) -> None:
    """Say how many runs there are, and how many of them need not run."""
    done = sum(job.state == "reused" for job in planned.values())
    workplace.report.say(f"{suite.name}: {len(planned)} runs, {done} done before")
    if others:
        workplace.report.say(
            f"{others} runs were done by other code, another torch or on another kind of device, "
            "or without the scores that score_every or second_split asks for: "
            + ("kept" if workplace.keep_other_code else "run again (--keep-other-code keeps them)")
        )


def mark_reused(planned: dict[str, Job], workplace: Workplace) -> int:
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


def skip_orphans(planned: dict[str, Job]) -> None:
    for job in planned.values():
        lost = [planned[n] for n in job.needs if planned[n].state in LOST]
        if job.state == "waiting" and lost:
            ended = "was interrupted" if lost[0].state == "interrupted" else "failed"
            job.state, job.error = "skipped", f"its frozen teacher {ended}: {lost[0].name}"


def ready(planned: dict[str, Job], free: int | None) -> list[str]:
    """Runs that can start now, `free` of them, in the suite's order.

    A frozen teacher stands right before who needs it, so that a sweep that is cut short holds whole
    comparisons, and not the teachers of all seeds. None: all that wait, in the same order.
    """
    if free is None:
        return [run_id for run_id, job in planned.items() if job.state == "waiting"]
    startable = [
        run_id
        for run_id, job in planned.items()
        if job.state == "waiting"
        and all(planned[need].state in ("done", "reused") for need in job.needs)
    ]
    return startable[:free]


def labels(planned: dict[str, Job]) -> dict[str, str]:
    """A row's name for each run: its method, its networks, and the settings that tell it from
    other runs of those."""
    rows: dict[str, dict[str, Job]] = {}
    for run_id, job in planned.items():
        rows.setdefault(job.row, {})[run_id] = job
    named = {}
    for row, alike in rows.items():
        settings = {run_id: _settings(job) for run_id, job in alike.items()}
        differing = _differing(settings.values())
        for run_id, values in settings.items():
            told_apart = {name: shown(name, values.get(name)) for name in differing}
            named[run_id] = f"{row} {spelled(told_apart)}".rstrip()
    return named


def _settings(job: Job) -> dict[str, Any]:
    """What a suite's settings may change from run to run, the seed and the scenario aside."""
    spec = job.plan.spec
    profile = spec.profile.model_dump(
        mode="json", exclude={"image_size", "generated", *CHANGE_NO_FIGURE}
    )
    return {**profile, **spec.method_config, "init": spec.init}


def _differing(settings: Iterable[dict[str, Any]]) -> list[str]:
    """Names whose values are not the same in all of them."""
    values: dict[str, set[str]] = {}
    for one in settings:
        for name, value in one.items():
            values.setdefault(name, set()).add(json.dumps(value, sort_keys=True))
    return [name for name, different in values.items() if len(different) > 1]
