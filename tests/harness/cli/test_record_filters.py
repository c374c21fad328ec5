"""The filters of the verbs that look at records: what matches none of them is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_cli import bench, refused
from fake_records import fake_record

from harness.records import store

RECORDS = Path(__file__).parents[3] / "results" / "records"
VERBS = {
    "table": ["table", RECORDS],
    "claims": ["claims", RECORDS],
    "compare": ["compare", "daformer", "dualkd", RECORDS],
    "plot": ["plot", "gain", RECORDS],
    "report": ["report", RECORDS],
}
FILTERS = {
    ("--method", "dafomer"): "'daformer'",
    ("--scenario", "gta2c"): "'gta2cs'",
    ("--profile", "tin"): "'tiny'",
    ("--student", "mini_x"): "'mini_",
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_misspelt_filter_is_answered_with_the_nearest_of_the_records(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for (option, value), near in FILTERS.items():
        if (verb, option) == ("compare", "--method"):
            continue  # its methods are arguments
        said = refused(bench(*VERBS[verb], option, value))
        assert f"{option} {value}: no record in" in said
        assert "did you mean" in said
        assert near in said
    assert not list(tmp_path.iterdir())


def test_one_misspelt_filter_of_two_is_not_left_out_in_silence():
    said = refused(bench("table", RECORDS, "--method", "daformer", "--method", "dafomer"))
    assert "--method dafomer: no record in" in said


def test_a_name_that_no_record_has_is_refused_where_nothing_is_left():
    said = refused(bench("table", RECORDS, "--scenario", "cs2acdc"))
    assert "--scenario cs2acdc: no record in" in said
    assert "has it; there are: gta2camvid, gta2cs" in said
    both = bench("table", RECORDS, "--scenario", "gta2cs", "--scenario", "cs2acdc")
    assert both.code == 0, both.err


@pytest.mark.parametrize("form", ["rich", "markdown", "json"])
def test_one_scenario_gives_no_table_over_scenarios_and_a_line_says_so(form, tmp_path):
    for seed in (0, 1):
        store.write(fake_record("source_only", seed), tmp_path)
    one = bench("table", tmp_path, "--aggregate", "--format", form)
    assert one.code == 0
    (line,) = one.err.splitlines()
    assert "no table over scenarios" in line
    assert "found gta2cs (profile " in line
    store.write(fake_record("source_only", scenario="synthia2cs"), tmp_path)
    assert bench("table", tmp_path, "--aggregate", "--format", form).err == ""


def test_without_records_the_verb_says_so(tmp_path):
    said = refused(bench("table", "--results", tmp_path, "--scenario", "gta2c"))
    assert "no record to show: 0 found" in said


@pytest.mark.parametrize("verb", [["table", "--format", "csv"], ["plot", "cost"], ["report"]])
def test_where_every_run_failed_that_is_said(verb, tmp_path, monkeypatch):
    """A CSV was empty, a figure said that no run had been done."""
    monkeypatch.chdir(tmp_path)
    record = fake_record("dacs").model_copy(
        update={"state": "failed", "error": "boom", "metrics": None, "cost": None}
    )
    store.write(record, tmp_path / "runs" / "records")
    said = refused(bench(*verb))
    assert "no done run: all 1 that pass the filters in runs/records failed" in said
    assert "boom" in bench("table").out
