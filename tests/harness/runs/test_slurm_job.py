"""What becomes of a run whose worker ended, inside the SLURM job."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from fake_records import fake_spec

from harness.errors import GOES_ON
from harness.files import write_text
from harness.runs import jobs, slurm_job
from harness.runs.launchers import Task
from harness.runs.slurm_job import TRIES, carry_out, verdict

SPEC = fake_spec()
RUN = SPEC.run_id


@pytest.fixture
def results(tmp_path) -> Path:
    task = Task(spec=SPEC, config={}, results=tmp_path)
    write_text(jobs.task_path(tmp_path, RUN), task.model_dump_json())
    write_text(jobs.log_path(tmp_path, RUN), "drawing\nbench: the data is broken\n")
    return tmp_path


def reached(results: Path, step: int) -> None:
    write_text(results / "artifacts" / SPEC.weights_id / "log.jsonl", f'{{"step": {step}}}\n')


def after(results: Path, code: int, before: jobs.JobFile | None = None, terminated: bool = False):
    return verdict(results, RUN, before or jobs.JobFile(state="queued"), code, terminated)


def test_a_worker_that_ended_well_is_done(results):
    assert after(results, 0).state == "done"


def test_a_workers_own_error_is_final(results):
    job = after(results, 1)
    assert (job.state, job.error, job.requeues) == ("failed", "the data is broken", 0)


@pytest.mark.parametrize("code", [GOES_ON, -signal.SIGUSR2, -signal.SIGKILL, -signal.SIGSEGV])
def test_a_stopped_worker_is_queued_again(results, code):
    reached(results, 150)
    job = after(results, code)
    assert (job.state, job.requeues, job.best_step) == ("queued", 1, 150)
    assert "step 150 of 800" in job.error
    assert ("out of memory" in job.error) == (code == -signal.SIGKILL)


def test_a_cancelled_run_is_not_queued_again(results):
    for code in (GOES_ON, -signal.SIGTERM):
        job = after(results, code, terminated=True)
        assert (job.state, job.requeues) == ("stopped", 0)


def test_a_run_that_comes_no_further_is_given_up_and_one_that_does_is_not(results):
    job = jobs.JobFile(state="queued")
    for step in range(50, 50 * (TRIES + 3), 50):
        reached(results, step)
        job = after(results, GOES_ON, job)
        assert job.state == "queued"
    for number in range(1, TRIES + 1):
        job = after(results, -9, job)
        assert job.state == ("failed" if number == TRIES else "queued")
    assert f"{TRIES} times in a row" in job.error


def test_fresh_is_obeyed_once_by_a_job_that_is_queued_again(results, worker):
    """A run that takes longer than its time limit would begin anew in every try."""
    path = jobs.task_path(results, RUN)
    fresh = Task(spec=SPEC, config={}, results=results, fresh=True)
    write_text(path, fresh.model_dump_json())
    weights = results / "artifacts" / SPEC.weights_id
    write_text(weights / "training.json", "of an earlier run")
    os.utime(weights / "training.json", (1, 1))
    worker(f"import sys; sys.exit({GOES_ON})")
    assert Task.model_validate_json(path.read_text()).fresh, "nothing has been trained yet"
    (weights / "training.json").unlink()
    (weights / "checkpoints" / "step-9").mkdir(parents=True)
    worker(f"import sys; sys.exit({GOES_ON})")
    assert not Task.model_validate_json(path.read_text()).fresh


@pytest.fixture
def worker(results, monkeypatch):
    """Workers of one line of Python, and what scontrol is asked."""
    asked = []

    def run(code: str, refusal: str = ""):
        monkeypatch.setattr(slurm_job, "command", lambda _: [sys.executable, "-c", code])
        monkeypatch.setattr(slurm_job.time, "sleep", lambda _: None)
        real = slurm_job.subprocess.run

        def scontrol(command, **options):
            asked.append(command)
            stub = f"import sys; sys.exit({refusal!r} or 0)"
            return real([sys.executable, "-c", stub], **options)

        monkeypatch.setattr(slurm_job.subprocess, "run", scontrol)
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
        before = [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)]
        try:
            carry_out(str(results), RUN)
        except SystemExit as end:
            return end.code, asked
        finally:
            signal.signal(signal.SIGUSR2, before[0])
            signal.signal(signal.SIGTERM, before[1])
        return 0, asked

    return run


def test_the_job_of_a_killed_worker_asks_to_be_queued_again(results, worker):
    code, asked = worker("import os; os.kill(os.getpid(), 9)")
    assert code == 1, "SLURM must not take it as done, or students start"
    assert asked == [["scontrol", "requeue", "7_3"]]
    assert jobs.read_job(results, RUN).state == "queued"


def test_where_slurm_does_not_queue_it_again_it_has_failed(results, worker):
    worker(f"raise SystemExit({GOES_ON})", refusal="Requested operation is disabled")
    job = jobs.read_job(results, RUN)
    assert job.state == "failed"
    assert "Requested operation is disabled" in job.error


def test_a_job_whose_worker_ended_well_ends_well(results, worker):
    assert worker("pass") == (0, [])
    assert jobs.read_job(results, RUN).state == "done"
