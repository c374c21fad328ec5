"""`bench speed` as a user calls it, its processes real."""

from __future__ import annotations

import json

import pytest
from bench_cli import bench, refused

from harness.measure.environment import checkout
from harness.runs.speed.cases import SpeedCase
from harness.runs.speed.report import make_report
from harness.runs.speed.results import Result, read_report
from harness.runs.speed.session import ROOT, SpeedOptions

QUICK = ["--student", "test_mit", "--set", "crop=32,64", "--seconds", "0.2", "--rounds", "2"]
STEPS = [*QUICK, "--only-steps", "--device", "cpu"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One case with all there is to measure, and its trace, from a folder that is no checkout."""
    folder = tmp_path_factory.mktemp("speed")
    outcome = bench(
        "speed", "--method", "daformer", *QUICK, "--device", "cpu",
        "--set", 'image_size.cityscapes=[64,32]',
        "--json", folder / "speed.json", "--trace", folder / "trace.json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return folder, outcome


@pytest.mark.slow
def test_everything_is_measured_and_written(measured):
    folder, outcome = measured
    (result,) = read_report(folder / "speed.json").results
    assert result.steps.step_ms.rounds == 2
    assert result.memory.mib > 0
    assert result.gflops > 0
    assert result.inference.latency_ms > 0
    assert result.evaluation.label_size == (1024, 2048)
    assert "parts of a step" in outcome.out


@pytest.mark.slow
def test_columns_that_do_not_fit_are_to_be_had_by_what_the_verb_takes(measured, monkeypatch):
    report = read_report(measured[0] / "speed.json")
    monkeypatch.setattr("harness.runs.speed.report.make_report", lambda *_: (report, None))
    monkeypatch.setenv("COLUMNS", "60")
    outcome = bench("speed", "--method", "daformer", *QUICK)
    said = " ".join(outcome.out.split())
    assert "eval img/s; a wider terminal or --json FILE shows all." in said


@pytest.mark.slow
def test_the_trace_names_the_parts(measured):
    folder, _ = measured
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert {"backward", "mixing", "optimiser"} <= {event["name"] for event in events}


BREAKING = """
from methods.source_only import SourceOnly

class Breaking(SourceOnly):
    def losses(self, batch, step):
        raise RuntimeError("nothing to learn")
"""


@pytest.mark.slow
def test_an_earlier_file_is_compared_and_a_case_that_breaks_costs_the_exit_code(measured, tmp_path):
    (tmp_path / "breaking.py").write_text(BREAKING)
    folder, _ = measured
    arguments = [*STEPS, "--set", "image_size.cityscapes=[64,32]"]
    arguments += ["--compare", folder / "speed.json", "--plugin", tmp_path / "breaking.py"]
    outcome = bench("speed", "--method", "breaking,daformer", *arguments)
    assert outcome.code == 1
    assert "RuntimeError: nothing to learn" in " ".join(outcome.out.split())
    assert "this tree against" in outcome.out
    assert "another machine" not in outcome.out


@pytest.mark.slow
def test_another_revision_is_measured_in_turns():
    if checkout(ROOT)["commit"] is None:
        pytest.skip("not a git checkout")
    outcome = bench("speed", "--method", "source_only", *STEPS, "--compare", "HEAD")
    assert outcome.code == 0, outcome.err
    assert "this tree against HEAD" in outcome.out


def test_an_unknown_revision_is_refused():
    if checkout(ROOT)["commit"] is None:
        pytest.skip("not a git checkout")
    line = refused(bench("speed", "--method", "dacs", *STEPS, "--compare", "no-such-thing"))
    assert "--compare no-such-thing" in line


def test_a_trace_is_of_one_case(tmp_path):
    line = refused(bench("speed", "--method", "dacs,fda", *STEPS, "--trace", tmp_path / "t.json"))
    assert "expected one case, not 2" in line


def test_a_file_that_is_no_report_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    line = refused(bench("speed", "--method", "dacs", *STEPS, "--compare", tmp_path / "other.json"))
    assert "other.json" in line


def test_a_report_that_holds_none_of_the_cases_is_refused_before_anything_is_measured(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("harness.runs.speed.report.measure", lambda *_: iter(()))
    case = SpeedCase(method="dacs", student="test_mit", profile="tiny")
    report, _ = make_report([], SpeedOptions("cpu", extras=()))
    report = report.model_copy(update={"results": [Result(case=case)]})
    (tmp_path / "before.json").write_text(report.model_dump_json())
    arguments = ["--method", "dacs", "--student", "test_deeplab", "--only-steps"]
    line = refused(bench("speed", *arguments, "--compare", tmp_path / "before.json"))
    assert "it holds none of the cases asked for" in line
    assert "expected one of: dacs test_mit." in line


def test_a_report_without_a_comparison_has_no_table_of_changes(monkeypatch):
    monkeypatch.setattr("harness.runs.speed.report.measure", lambda *_: iter(()))
    report, change = make_report([], SpeedOptions("cpu", extras=()))
    assert (report.results, change) == ([], None)
