"""A suite on a real SLURM cluster of one node: a killed run is queued again and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from bench_cli import SETTINGS, Outcome, bench
from slurm_cluster import cluster, missing

from harness.records import store
from harness.runs import jobs
from harness.runs.slurm import Slurm
from harness.runs.status import standings

pytestmark = [
    pytest.mark.last,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "SLURM is here"),
]
STEPS = 200
#: A state every so many steps: the killed run has written two.
EVERY = 20


class Killer(threading.Thread):
    """Kills the frozen teacher's worker in mid-training, and has it queued again at once."""

    def __init__(self, results: Path) -> None:
        super().__init__(daemon=True)
        self.results, self.killed_at, self.status = results, None, None

    def run(self) -> None:
        ((path, sweep),) = self.wait_for(lambda: jobs.read_sweeps(self.results))
        teacher = next(run for run in sweep.runs if not run.needs)
        self.wait_for(lambda: self.step(teacher) >= 2 * EVERY + 1)
        process = jobs.read_job(self.results, teacher.run_id).process
        stands = standings(self.results, path, sweep)
        self.status = [stands[run.run_id].state for run in sweep.runs]
        os.kill(process.pid, signal.SIGKILL)
        self.killed_at = self.step(teacher)
        self.wait_for(lambda: jobs.read_job(self.results, teacher.run_id).state == "queued")
        # SLURM keeps what was queued again for two minutes.
        number = self.wait_for(lambda: jobs.read_sweeps(self.results)[0][1].runs[0].slurm)
        self.wait_for(lambda: "PENDING" in _scontrol("show", "job", number))
        _scontrol("update", f"JobId={number}", "StartTime=now")

    def step(self, run) -> int:
        return jobs.last_step(self.results, run.weights_id) or 0

    @staticmethod
    def wait_for(look):
        end = time.monotonic() + 300
        while not (value := look()):
            assert time.monotonic() < end
            time.sleep(0.05)
        return value


def _scontrol(*arguments: str) -> str:
    done = subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=False)
    return done.stdout


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[Path, Outcome, Killer]:
    """A teacher and its student, the teacher's worker killed while it trains."""
    folder = tmp_path_factory.mktemp("cluster")
    suite = folder / "killed.toml"
    settings = [*SETTINGS, f"teacher_iterations={STEPS}", f"checkpoint_every={EVERY}"]
    suite.write_text(
        'question = "Does it go on?"\nmethods = ["dualkd"]\nscenarios = ["gta2cs"]\n'
        f'students = ["test_mit"]\nseeds = [0]\noverrides = {json.dumps(settings)}\n'
    )
    results = folder / "res ults"  # a name that a shell would part
    with cluster() as environment, pytest.MonkeyPatch.context() as patch:
        for name in ("PATH", "SLURM_CONF"):
            patch.setenv(name, environment[name])
        patch.setattr(Slurm, "interval", 0.5)
        killer = Killer(results)
        killer.start()
        options = ["--launcher", "slurm", "--device", "cpu", "--time", "20"]
        outcome = bench("sweep", suite, "--results", results, *options)
        killer.join(timeout=10)
    return results, outcome, killer


def test_a_killed_run_is_queued_again_and_finished(swept):
    results, outcome, killer = swept
    assert outcome.code == 0, outcome.out + outcome.err
    assert 2 * EVERY < killer.killed_at < STEPS
    ((_, sweep),) = jobs.read_sweeps(results)
    teacher = jobs.read_job(results, sweep.runs[0].run_id)
    assert (teacher.state, teacher.requeues) == ("done", 1)
    logs = "".join(p.read_text() for p in (results / "artifacts/slurm").glob("*.out"))
    assert "by signal 9" in logs
    assert "DUE TO JOB REQUEUE" in logs
    records = {record.spec.method: record for record in store.read_all(results / "records")}
    assert {record.state for record in records.values()} == {"done"}
    (cost,) = records["dualkd"].cost.teachers
    assert cost.reused, "the student waited for its teacher, killed in between or not"
    (went_on_at,) = records["source_only"].cost.training.resumed
    assert went_on_at in range(EVERY, killer.killed_at + 1, EVERY)


def test_it_is_shown_while_it_works_and_when_it_is_done(swept):
    results, outcome, killer = swept
    assert killer.status[0] == "running"
    assert "2 done (by SLURM" in bench("status", "--results", results).out
    lines = [line for line in outcome.out.splitlines() if line.startswith("done: ")]
    assert [line.split()[1] for line in lines] == ["source_only", "dualkd"]
