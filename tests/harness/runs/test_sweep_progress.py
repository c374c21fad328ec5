"""What a sweep shows while it works."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

from fake_records import fake_spec
from rich.console import Console

from harness.config.planning import Plan
from harness.report.progress import Reporter
from harness.runs.graph import Job
from harness.runs.sweep import _counts
from harness.runs.sweep_progress import SweepProgress


def planned(steps: tuple[int, ...]) -> dict[str, Job]:
    plans = [
        Plan(fake_spec("dacs", seed, profile={"iterations": count}), None, None)
        for seed, count in enumerate(steps)
    ]
    return {plan.spec.run_id: Job(plan) for plan in plans}


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)


def test_the_eta_is_by_the_steps_of_all_runs_from_the_first_logged_step_on(tmp_path):
    jobs, told, now = planned((100, 300, 400)), [], [50.0]
    first, second, third = jobs.values()
    third.state = "reused"
    progress = SweepProgress(jobs, tmp_path, lambda *shown: told.append(shown), lambda: now[0])
    first.state = "running"
    progress.tell()
    log = tmp_path / "artifacts" / first.plan.spec.weights_id / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({"step": 50}) + "\n")
    progress.tell()  # too early to look again
    now[0] += 10
    progress.tell()
    first.state, second.state = "done", "running"
    now[0] += 10
    progress.tell()
    assert told == [
        (first.name, 0, 2, None),
        (first.name, 0, 2, 70.0),  # 10 s for 50 of 400 steps
        (second.name, 1, 2, 60.0),
    ]


def test_of_several_at_work_one_is_named(tmp_path):
    jobs, told = planned((100, 300, 400)), []
    for job in jobs.values():
        job.state = "running"
    SweepProgress(jobs, tmp_path, lambda *shown: told.append(shown)).tell()
    assert told[0][0].endswith("seed 0 and 2 more")


def test_a_pipe_gets_a_line_a_change_and_a_terminal_a_bar():
    pipe = console(terminal=False)
    with Reporter(pipe).sweeping() as show:
        for done, left in ((0, None), (0, 70.0), (1, 60.0)):
            show("dacs, seed 0", done, 2, left)
        show("", 2, 2, 0.0)
    assert pipe.file.getvalue().splitlines() == [
        "running: dacs, seed 0  (0/2 runs done, ETA -:--)",
        "running: dacs, seed 0  (1/2 runs done, ETA 1:00)",
    ]
    screen = console(terminal=True)
    with Reporter(screen).sweeping() as show:
        show("dacs, seed 0", 1, 2, 60.0)
    assert all(part in screen.file.getvalue() for part in ("1/2", "ETA 1:00", "dacs, seed 0"))


def test_an_interrupted_sweep_counts_what_has_failed():
    states = ["done", "done", "failed", "interrupted", "waiting"]
    jobs = {str(n): SimpleNamespace(state=state) for n, state in enumerate(states)}
    assert _counts(jobs) == "2 done, 1 interrupted, 1 failed"
    del jobs["2"]
    assert _counts(jobs) == "2 done, 1 interrupted"
