"""Runs as SLURM jobs: what sbatch is asked, what becomes of jobs that vanish. No SLURM needed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from bench_cli import SETTINGS, bench, refused

from harness.errors import BenchError
from harness.runs import jobs, slurm
from harness.runs import sweep as sweep_module
from harness.runs.slurm import Slurm, minutes, options, time_limit

SBATCH = """#!/bin/sh
[ -e {folder}/refuses ] && {{ echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1; }}
n=$(($(cat {folder}/n) + 1)); echo $n > {folder}/n
cp "$1" {folder}/$n.sbatch; echo "Submitted batch job $n"
"""


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Path:
    """Programs of SLURM's names that only take notes; `queue` in it is what squeue shows."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "n").write_text("0")
    (folder / "queue").write_text("")
    programs = {
        "sbatch": SBATCH.format(folder=folder),
        "squeue": f"#!/bin/sh\ncat {folder}/queue\n",
        "scancel": f'#!/bin/sh\necho "$@" > {folder}/cancelled\n',
        "srun": "#!/bin/sh\n",
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(Slurm, "interval", 0.01)
    monkeypatch.setattr(slurm, "GRACE", 0.0)
    monkeypatch.setattr(sweep_module, "prepare_data", lambda *_: None)
    return folder


@pytest.fixture
def suite(tmp_path) -> Path:
    path = tmp_path / "a $(touch b) 'c' suite.toml"
    path.write_text(
        'question = "?"\nmethods = ["dualkd", "source_only"]\nscenarios = ["gta2cs"]\n'
        f'students = ["test_mit"]\nseeds = [0, 1]\noverrides = {SETTINGS!r}\n'
    )
    return path


def sbatch(queue: Path, number: int) -> dict[str, str]:
    text = (queue / f"{number}.sbatch").read_text()
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", text, re.MULTILINE))


def submit(suite: Path, results: Path, *more: str):
    return bench(
        "sweep", suite, "--results", results, "--launcher", "slurm", "--time", "1:30:00", *more
    )


def test_runs_are_arrays_and_students_wait_for_their_own_teacher(queue, suite, tmp_path):
    results = tmp_path / "results"
    outcome = submit(suite, results, "--slurm", "partition=gpu", "--slurm", "mem=32G")
    first, second, third = (sbatch(queue, number) for number in (1, 2, 3))
    assert first["array"] == "0-3%4"
    assert "dependency" not in first
    assert (second["dependency"], third["dependency"]) == ("afterok:1_0", "afterok:1_2")
    assert second["kill-on-invalid-dep"] == "yes"
    expected = {
        "partition": "gpu", "mem": "32G", "gpus-per-node": "1", "time": "90", "requeue": "",
        "signal": "USR2@120", "chdir": str(results / "artifacts/slurm"),
        "job-name": "bench-a_touch_b_c_suite",
    }  # fmt: skip
    assert {name: first.get(name) for name in expected} == expected
    assert "SLURM job 2: 1 runs, at most 90 minutes each, after 1_0" in outcome.out


def test_jobs_that_vanish_are_failures_and_their_students_are_skipped(queue, suite, tmp_path):
    outcome = submit(suite, tmp_path / "results")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert sum("SLURM ended its job 1_" in line for line in lines if "failed:" in line) >= 4
    assert any(line.startswith("skipped: dualkd") for line in lines)
    assert "4 failed, 2 skipped" not in outcome.out
    assert not list((tmp_path / "results/records").iterdir()), "nothing has run"


def interrupted(monkeypatch, *arguments):
    """Submit, and end the sweep with Ctrl-C."""

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Slurm, "ended", interrupt)
        return submit(*arguments)


def test_jobs_outlive_their_sweep_and_the_next_takes_them_over(queue, suite, tmp_path, monkeypatch):
    results = tmp_path / "results"
    first = interrupted(monkeypatch, suite, results)
    assert "6 runs go on without this sweep" in first.out
    (queue / "queue").write_text("1_0\n1_1\n1_2\n1_3\n2\n99\n")  # job 3 is gone
    second = interrupted(monkeypatch, suite, results)
    assert "5 runs are in SLURM's queue already: taken over" in second.out
    assert "SLURM job 4: 1 runs" in second.out
    assert sbatch(queue, 4)["dependency"] == "afterok:1_2"
    shown = bench("status", suite, "--results", results)
    assert "6 runs: 6 waiting (by SLURM" in shown.out


def test_cancel_takes_the_jobs_of_the_suite_out_of_the_queue(queue, suite, tmp_path, monkeypatch):
    results = tmp_path / "results"
    interrupted(monkeypatch, suite, results)
    outcome = bench("cancel", suite, "--results", results)
    assert "6 SLURM jobs cancelled" in outcome.out
    assert (queue / "cancelled").read_text().split() == ["1_0", "2", "1_1", "1_2", "3", "1_3"]
    assert "6 runs: 6 open" in bench("status", "--results", results).out
    assert "nothing of it runs or waits" in bench("cancel", suite, "--results", results).out


def test_what_sbatch_refuses_is_said(queue, suite, tmp_path):
    (queue / "refuses").touch()
    message = refused(submit(suite, tmp_path / "results", "--slurm", "partition=gpu"))
    assert "invalid partition specified: gpu" in message
    assert "--slurm" in message


def test_trainings_on_gpus_are_not_timed_where_there_is_none(queue, suite, tmp_path):
    arguments = ["--results", tmp_path / "results", "--launcher", "slurm"]
    message = refused(bench("sweep", suite, *arguments))
    assert "--time 12:00:00" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("0:30", 1), ("1:30:00", 90), ("2-0", 2880), ("1-2:30", 1590), ("1-0:0:1", 1441)],
)
def test_time_limits_are_spelled_as_sbatch_does(text, expected):
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "1h", "-5", "1:2:3:4", "1\n#SBATCH", "9" * 7, "٣"])
def test_what_is_no_time_limit_is_refused(text):
    with pytest.raises(BenchError, match="--time"):
        minutes(text)


def test_a_limit_leaves_room_for_loading_and_scoring():
    assert time_limit(0) == 30
    assert time_limit(3600) == 30 + 120


@pytest.mark.parametrize(
    "setting",
    ["time=5", "array=1-5", "job-name=x", "output=x", "requeue", "dependency=singleton", "wrap=ls"],
)
def test_what_a_sweep_sets_is_not_the_users(setting):
    with pytest.raises(BenchError, match="a sweep sets"):
        options(None, [setting])


@pytest.mark.parametrize(
    "setting", ["", "=x", "partition=a\nb", "a b=c", "p;ls=1", "comment=\x1b[2J", "-p=x", "--"]
)
def test_a_setting_cannot_carry_a_line_of_its_own(setting):
    with pytest.raises(BenchError, match="long option of sbatch"):
        options(None, [setting])


def test_options_are_known_with_and_without_dashes():
    chosen = options(None, ["--gpus-per-node=2", "cpus_per_task=8", "exclusive", "comment=a=b c"])
    expected = {"gpus_per_node": "2", "cpus_per_task": "8", "exclusive": True, "comment": "a=b c"}
    assert chosen.sbatch == expected


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--launcher", "slurm", "--jobs", "2"], "--jobs 2"),
        (["--launcher", "slurm", "--device", "cuda:1"], "--device cuda:1"),
        (["--time", "5"], "--launcher slurm"),
        (["--slurm", "partition=x"], "--launcher slurm"),
    ],
)
def test_options_that_contradict_each_other_are_refused(suite, tmp_path, more, word):
    assert word in refused(bench("sweep", suite, "--results", tmp_path / "results", *more))


def test_without_slurm_it_says_what_is_missing(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sweep_module, "prepare_data", lambda *_: None)
    assert "no sbatch found" in refused(submit(suite, tmp_path / "results"))


def test_a_results_folder_that_slurm_would_misread_is_refused(queue, suite, tmp_path):
    message = refused(submit(suite, tmp_path / "50%j"))
    assert "%" in message
    assert not jobs.read_sweeps(tmp_path / "50%j")
