"""`bench run --dry-run`, and what is asked before days on a CPU."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
import typer
from bench_cli import QUICK, bench, refused

from harness.cli.dry_run import _cost_line
from harness.config import catalogue
from harness.runs.estimate import CostEstimate

DUALKD = ["run", "--method", "dualkd", "--scenario", "gta2cs", *QUICK]
TINY = catalogue.profile("tiny")
NOTICE = "generated data: figures are not comparable with papers"


def test_dry_run_prints_the_spec_and_the_cost_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path / "cache"))
    outcome = bench(*DUALKD, "--dry-run", "--results", tmp_path / "new")
    assert outcome.code == 0, outcome.err
    assert list(tmp_path.iterdir()) == []
    notice, cost, teacher, student, *_ = outcome.out.splitlines()
    assert notice == NOTICE
    assert cost.startswith("cost: about ")
    assert teacher.startswith("  frozen teacher mini_xs")
    assert student.startswith("  student test_mit")
    assert "4 steps" in student
    assert "ms a step" in student
    assert f"  iterations 4 (default {TINY.iterations})" in outcome.out
    assert "  lr " not in outcome.out


def test_operations_are_a_number_without_an_exponent():
    cost = CostEstimate("student", "daformer_mitb5", 85.16, 251.7, 4, None, None, None, 2, 2)
    assert "252 GFLOPs" in _cost_line(cost)


def test_dry_run_in_json_holds_the_whole_run(tmp_path):
    answer = json.loads(bench(*DUALKD, "--dry-run", "--format", "json").out)
    assert answer["spec"]["method"] == "dualkd"
    assert answer["spec"]["profile"]["iterations"] == 4
    assert [training["role"] for training in answer["trainings"]] == ["frozen teacher", "student"]
    assert answer["seconds"] == pytest.approx(sum(each["seconds"] for each in answer["trainings"]))
    assert answer["differs"]["iterations"] == {"value": 4, "default": TINY.iterations}
    assert all(training["disk_mib"] > 0 for training in answer["trainings"])
    assert "--dry-run" in refused(bench(*DUALKD, "--format", "json", "--results", tmp_path))


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_a_run_of_days_on_a_cpu_is_asked_about_on_a_terminal(monkeypatch, tmp_path, answer, code):
    from harness.cli import dry_run

    monkeypatch.setattr(dry_run, "reckoned_seconds", lambda plan: 5 * 86400.0)
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(dry_run, "sys", SimpleNamespace(stdin=terminal, stdout=terminal))
    asked = []
    monkeypatch.setattr("typer.confirm", lambda text: asked.append(text) or answer == "y")
    plan = SimpleNamespace(spec=SimpleNamespace(profile=SimpleNamespace(name="paper")))
    if code:
        with pytest.raises(typer.Exit):
            dry_run.confirm_long_run(plan, torch.device("cpu"))
    else:
        dry_run.confirm_long_run(plan, torch.device("cpu"))
    assert asked == ["Train on the CPU all the same?"]


def test_a_run_of_days_on_a_cpu_is_warned_about_in_a_pipe(monkeypatch, capsys):
    from harness.cli import dry_run

    monkeypatch.setattr(dry_run, "reckoned_seconds", lambda plan: 5 * 86400.0)
    plan = SimpleNamespace(spec=SimpleNamespace(profile=SimpleNamespace(name="paper")))
    dry_run.confirm_long_run(plan, torch.device("cpu"))
    assert "warning: profile paper on this CPU takes more than 5 d 00:00" in capsys.readouterr().err
    monkeypatch.setattr(dry_run, "reckoned_seconds", lambda plan: 60.0)
    dry_run.confirm_long_run(plan, torch.device("cpu"))
    assert capsys.readouterr().err == ""


def test_dry_run_times_the_whole_schedule_and_no_batch_that_fills_the_memory(monkeypatch):
    steps = []

    def step(self, batches, number):
        steps.append((number, len(batches[0].source_image)))

    monkeypatch.setattr("harness.training.trainer.Trainer.step", step)
    arguments = ["--set", "iterations=1000", "--set", "batch_size=60000"]
    plain = ["run", "--method", "source_only", "--scenario", "gta2cs", *QUICK]
    outcome = bench(*plain, *arguments, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "timed with 8 images and scaled to 60000" in " ".join(outcome.out.split())
    assert {images for _, images in steps} == {8}
    # Three of each tenth, with numbers of their own: an EMA teacher moves once a number.
    in_turn = [first + i for first in range(50, 1000, 100) for i in range(3)]
    assert [number for number, _ in steps] == in_turn


def test_dry_run_of_the_papers_profile_answers_on_a_cpu():
    outcome = bench(
        "run", "--method", "source_only", "--scenario", "gta2cs", "--profile", "paper",
        "--student", "test_mit", "--set", "crop=64,64", "--dry-run", "--device", "cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "40000" in outcome.out
