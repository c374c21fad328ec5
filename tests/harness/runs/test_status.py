"""How runs stand, told from the files of a results folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench_cli import bench, refused
from fake_records import fake_record

from harness.files import write_text
from harness.records import store
from harness.runs import jobs
from harness.runs.jobs import JobFile, Process, Sweep, SweptRun
from harness.runs.status import standings


def swept(seed: int, **changes) -> SweptRun:
    spec = fake_record(seed=seed).spec
    values = {
        "run_id": spec.run_id, "weights_id": spec.weights_id, "label": "source_only mini",
        "scenario": "gta2cs", "seed": seed, "steps": 800, "waits": True,
    }  # fmt: skip
    return SweptRun(**{**values, **changes})


@pytest.fixture
def dead() -> Process:
    """A process of this machine that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    child.communicate(b"\n")
    return process


def begun(results: Path, runs: list[SweptRun], **changes) -> tuple[Path, Sweep]:
    values = {
        "suite": "quick", "launcher": "local", "created": "2020-01-01T00:00:00+00:00",
        "process": Process.of(os.getpid()), "runs": runs,
    }  # fmt: skip
    sweep = Sweep(**{**values, **changes})
    path = jobs.sweep_path(results, sweep.suite, [run.run_id for run in runs])
    jobs.write_sweep(path, sweep)
    return path, sweep


def states(results: Path, path: Path, sweep: Sweep) -> list[tuple[str, str]]:
    return [(s.state, s.text) for s in standings(results, path, sweep).values()]


def test_a_run_waits_while_its_sweep_lives(tmp_path, dead):
    run = swept(0)
    assert states(tmp_path, *begun(tmp_path, [run])) == [("waiting", "waiting")]
    assert states(tmp_path, *begun(tmp_path, [run], process=dead)) == [("open", "-")]
    other = Process(host="elsewhere", pid=5, started=0)
    path, sweep = begun(tmp_path, [run], process=other)
    assert states(tmp_path, path, sweep) == [("waiting", "waiting")]
    os.utime(path, (0, time.time() - 2 * jobs.SILENCE))
    assert states(tmp_path, path, sweep) == [("open", "-")]


def test_a_running_worker_is_before_at_or_behind_its_steps(tmp_path):
    run = swept(0)
    path, sweep = begun(tmp_path, [run])
    folder = tmp_path / "artifacts" / run.weights_id
    write_text(folder / "log.jsonl", '{"step": 799}\n')  # of an earlier try
    os.utime(folder / "log.jsonl", (0, 0))
    job = JobFile(state="running", process=Process.of(os.getpid()), since=time.time() - 1)
    jobs.write_job(tmp_path, run.run_id, job)
    assert states(tmp_path, path, sweep) == [("running", "running")]
    write_text(folder / "log.jsonl", '{"step": 50}\n{"step": 100}\n{"st')
    assert states(tmp_path, path, sweep) == [("running", "step 100/800")]
    write_text(folder / "training.json", "{}")
    assert states(tmp_path, path, sweep) == [("running", "scoring")]


def test_a_worker_that_was_killed_is_stopped(tmp_path, dead):
    run = swept(0)
    jobs.write_job(tmp_path, run.run_id, JobFile(state="running", process=dead))
    write_text(tmp_path / "artifacts" / run.weights_id / "log.jsonl", '{"step": 100}\n')
    assert states(tmp_path, *begun(tmp_path, [run])) == [("stopped", "stopped 100/800")]


def test_records_tell_what_is_done_and_what_failed(tmp_path):
    runs = [swept(0), swept(1), swept(2, needs=[swept(1).run_id])]
    store.write(fake_record(seed=0), tmp_path / "records")
    failed = fake_record(seed=1).model_copy(update={"state": "failed", "error": "no luck"})
    store.write(failed, tmp_path / "records")
    path, sweep = begun(tmp_path, runs)
    miou = f"{fake_record(seed=0).metrics.student.miou:.1f}"
    expected = [("done", miou), ("failed", "failed"), ("skipped", "skipped")]
    assert states(tmp_path, path, sweep) == expected
    shown = bench("status", "--results", tmp_path)
    assert f"│ {miou} │ failed │ skipped │" in " ".join(shown.out.split())
    assert "3 runs: 1 done, 1 failed, 1 skipped (by process" in shown.out
    assert f", begun {sweep.created})" in shown.out
    assert "failed: source_only mini, gta2cs, seed 1: no luck" in shown.out


def test_a_record_from_before_a_sweep_that_runs_it_again_is_not_its_outcome(tmp_path):
    store.write(fake_record(seed=0), tmp_path / "records")
    again = begun(tmp_path, [swept(0)], created=jobs.now())
    assert states(tmp_path, *again) == [("waiting", "waiting")]
    reused = begun(tmp_path, [swept(0, waits=False)], created=jobs.now())
    assert states(tmp_path, *reused)[0][0] == "done"


def test_a_job_of_slurm_that_was_queued_again_waits_where_it_stopped(tmp_path):
    run = swept(0, slurm="12_3")
    job = JobFile(state="queued", requeues=1, best_step=300, error="stopped at step 300")
    jobs.write_job(tmp_path, run.run_id, job)
    path, sweep = begun(tmp_path, [run], launcher="slurm")
    assert states(tmp_path, path, sweep) == [("waiting", "waiting (300/800)")]


def test_names_from_strangers_are_shown_as_text(tmp_path):
    begun(tmp_path, [swept(0, label="[red]x[/red] [link=file:///]")])
    assert "[red]x[/red] [link=file:///]" in bench("status", "--results", tmp_path).out


def test_a_file_that_is_no_sweep_is_left_out(tmp_path):
    begun(tmp_path, [swept(0)])
    folder = tmp_path / "artifacts/sweeps"
    (folder / "half.json").write_text('{"suite": ')
    hostile = swept(0).model_dump() | {"run_id": "../../x"}
    sweep = begun(tmp_path, [])[1].model_dump() | {"runs": [hostile], "suite": "evil"}
    (folder / "evil.json").write_text(str(sweep).replace("'", '"').replace("None", "null"))
    assert {sweep.suite for _, sweep in jobs.read_sweeps(tmp_path)} == {"quick"}


def test_a_folder_without_sweeps_says_so(tmp_path):
    assert "there is none" in refused(bench("status", "--results", tmp_path))
    begun(tmp_path, [swept(0)])
    assert "expected one that `bench sweep` began there: quick" in refused(
        bench("status", "other", "--results", tmp_path)
    )


def test_a_fifo_among_the_files_of_a_sweep_hangs_nothing(tmp_path):
    path, sweep = begun(tmp_path, [swept(0)])
    (run,) = sweep.runs
    for fifo in (
        path.with_name("quick-fifo.json"),
        jobs.job_path(tmp_path, run.run_id),
        jobs.log_path(tmp_path, run.run_id),
        tmp_path / "artifacts" / run.weights_id / "log.jsonl",
    ):
        fifo.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(fifo)
    assert jobs.read_sweeps(tmp_path) == [(path, sweep)]
    assert states(tmp_path, path, sweep) == [("waiting", "waiting")]
    assert jobs.last_line(jobs.log_path(tmp_path, run.run_id)) == ""
    assert jobs.last_step(tmp_path, run.weights_id) is None


def test_cancel_ends_the_process_of_a_local_sweep_and_no_other(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        process = Process.of(child.pid)
        begun(
            tmp_path,
            [swept(0)],
            process=process.model_copy(update={"started": 1.0, "since_boot": 1.0}),
        )
        out = bench("cancel", "quick", "--results", tmp_path).out
        assert "nothing of it runs" in out, "another process has its number now"
        assert child.poll() is None
        begun(tmp_path, [swept(0)], process=process)
        assert f"process {child.pid}" in bench("cancel", "quick", "--results", tmp_path).out
        assert child.wait(timeout=30) != 0
    finally:
        child.kill()
    elsewhere = process.model_copy(update={"host": f"not-{socket.gethostname()}"})
    begun(tmp_path, [swept(0)], process=elsewhere)
    assert "call `bench cancel` there" in refused(bench("cancel", "quick", "--results", tmp_path))


def test_a_clock_that_is_set_ends_no_sweep(tmp_path, monkeypatch):
    path, sweep = begun(tmp_path, [swept(0)])
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 1e9)
    monkeypatch.setattr("psutil.boot_time", lambda: 1e9)
    assert sweep.process.runs()
    assert states(tmp_path, path, sweep) == [("waiting", "waiting")]


def test_of_another_container_of_this_host_no_process_is_known(tmp_path):
    process = Process.of(os.getpid()).model_copy(update={"machine": "deadbeef", "pid": 2**22})
    assert process.runs() is None
    path, sweep = begun(tmp_path, [swept(0)], process=process)
    assert states(tmp_path, path, sweep) == [("waiting", "waiting")]


def test_cancel_ends_what_it_can_and_says_whose_the_rest_is(tmp_path, monkeypatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        elsewhere = Process(host="elsewhere", pid=5, started=0)
        begun(tmp_path, [swept(0)], process=elsewhere, created="2030-01-01T00:00:00+00:00")
        begun(tmp_path, [swept(1)], process=Process.of(child.pid))
        with monkeypatch.context() as patch:
            patch.setattr("os.kill", refuse)
            assert "another user's" in refused(bench("cancel", "quick", "--results", tmp_path))
        outcome = bench("cancel", "quick", "--results", tmp_path)
        assert f"process {child.pid} told to end" in outcome.out
        assert "runs on elsewhere" in refused(outcome)
        assert child.wait(timeout=30) != 0
    finally:
        child.kill()
