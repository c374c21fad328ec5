"""Processes of this machine: one GPU each, and files that tell what they are at."""

from __future__ import annotations

import sys
import time

import pytest
import torch
from fake_records import fake_spec

from harness.errors import BenchError
from harness.runs import jobs, launchers
from harness.runs.launchers import Local, Start, Task, dealt_gpus, visible_gpus


@pytest.mark.parametrize(
    ("variable", "expected"),
    [(None, ["0", "1", "2"]), ("4,5,7", ["4", "5", "7"]), (" GPU-a , GPU-b ", ["GPU-a", "GPU-b"])],
)
def test_the_gpus_are_those_that_cuda_shows(monkeypatch, variable, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    if variable is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == expected
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert visible_gpus() == []


def test_gpus_are_dealt_one_a_run_and_no_more():
    assert dealt_gpus("cuda", 2, ["4", "5", "7"]) == ["4", "5"]
    assert dealt_gpus("cpu", 8, []) == []
    assert dealt_gpus("cuda:1", 1, ["0", "1"]) == []
    with pytest.raises(BenchError, match=r"--jobs 4: 2 GPUs found.*--jobs 2"):
        dealt_gpus("cuda", 4, ["0", "1"])
    with pytest.raises(BenchError, match="--device cuda:1 names one GPU"):
        dealt_gpus("cuda:1", 2, ["0", "1"])


def starts(folder, count: int) -> list[Start]:
    specs = [fake_spec(seed=seed) for seed in range(count)]
    return [Start(Task(spec=spec, config={}, results=folder)) for spec in specs]


def test_each_process_sees_its_own_gpu_and_frees_it(tmp_path, monkeypatch):
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setattr(launchers, "command", lambda _: [sys.executable, "-c", code])
    local = Local(tmp_path, 2, ["4", "GPU-b"])
    first, second, third = starts(tmp_path, 3)
    local.start([first, second])
    assert local.free() == 0
    ends = until_ended(local, 2)
    local.start([third])
    ends |= until_ended(local, 1)
    assert {end.code for end in ends.values()} == {0}
    seen = [jobs.last_line(jobs.log_path(tmp_path, s.run_id)) for s in (first, second, third)]
    assert sorted(seen[:2]) == ["4", "GPU-b"]
    assert seen[2] in seen[:2]


def until_ended(local: Local, count: int) -> dict:
    ends: dict = {}
    end = time.monotonic() + 60
    while len(ends) < count and time.monotonic() < end:
        ends |= local.ended()
        time.sleep(0.01)
    return ends


def test_a_job_file_tells_what_its_process_is_at(tmp_path, monkeypatch):
    code = "import sys; print('the cause'); sys.exit(3)"
    monkeypatch.setattr(launchers, "command", lambda _: [sys.executable, "-c", f"input(); {code}"])
    local = Local(tmp_path, 1)
    (start,) = starts(tmp_path, 1)
    monkeypatch.setattr(sys, "stdin", None)
    local.start([start])
    job = jobs.read_job(tmp_path, start.run_id)
    assert job.state == "running"
    assert job.process.pid == local.running[start.run_id][0].pid
    local.close()
    assert jobs.read_job(tmp_path, start.run_id).state == "stopped"
    monkeypatch.setattr(launchers, "command", lambda _: [sys.executable, "-c", code])
    local = Local(tmp_path, 1)
    local.start([start])
    (end,) = until_ended(local, 1).values()
    assert (end.code, "the cause" in end.error) == (3, True)
    job = jobs.read_job(tmp_path, start.run_id)
    assert (job.state, job.error) == ("failed", "exit code 3: the cause")


@pytest.mark.parametrize(
    ("code", "state", "error"),
    [
        ("sys.exit(75)", "stopped", "last words"),
        ("sys.exit(130)", "stopped", "last words"),
        ("os.kill(os.getpid(), 9)", "failed", "killed by signal 9 (SIGKILL), perhaps"),
    ],
)
def test_a_job_file_tells_an_interrupted_run_from_a_killed_one(
    code, state, error, tmp_path, monkeypatch
):
    code = f"import os, sys; print('last words', flush=True); {code}"
    monkeypatch.setattr(launchers, "command", lambda _: [sys.executable, "-c", code])
    local = Local(tmp_path, 1)
    (start,) = starts(tmp_path, 1)
    local.start([start])
    (end,) = until_ended(local, 1).values()
    job = jobs.read_job(tmp_path, start.run_id)
    assert job.state == state
    assert job.error.startswith(error)
    assert end.interrupted == (state == "stopped")


def test_two_sweeps_at_one_run_take_no_task_from_each_other(tmp_path, monkeypatch):
    """The second one's worker still imports when the first one's ends."""
    code = "import pathlib as p, sys, time\nwhile not p.Path({!r}).exists(): time.sleep(0.01)\n"
    code += "print(p.Path(sys.argv[1]).read_text())"
    waits = iter([tmp_path, tmp_path / "go"])
    monkeypatch.setattr(
        launchers,
        "command",
        lambda task: [sys.executable, "-c", code.format(str(next(waits))), str(task)],
    )
    first, second = Local(tmp_path, 1), Local(tmp_path, 1)
    (start,) = starts(tmp_path, 1)
    first.start([start])
    second.start([start])
    assert until_ended(first, 1)[start.run_id].code == 0
    (tmp_path / "go").touch()
    end = until_ended(second, 1)[start.run_id]
    assert end.code == 0, end.error
    assert list((tmp_path / "artifacts/jobs").iterdir()) == [jobs.job_path(tmp_path, start.run_id)]
