"""`bench compare` of the records that this project publishes."""

import json
import re

import pytest
from bench_cli import bench, refused
from documented import ROOT
from fake_records import fake_record

from harness.records import store

RECORDS = ROOT / "results/records"
NARROWED = (RECORDS, "--scenario", "gta2cs", "--profile", "tiny", "--teacher", "mini_m")


def test_a_sentence_then_the_classes():
    outcome = bench("compare", "daformer", "dualkd", *NARROWED)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.partition("IoU % by class")[0].split())
    assert said in " ".join((ROOT / "docs/statistics.md").read_text().replace("\n>", "").split())
    assert "truck" in outcome.out


def test_a_sentence_alone_and_of_ema_teachers():
    by_student, by_ema = (
        bench("compare", "daformer", "dualkd", *NARROWED, "--format", "sentence", *network)
        for network in ((), ("--network", "ema"))
    )
    assert by_student.out.startswith("dualkd scores 4.1 points more than daformer (95 %")
    assert by_ema.out.startswith("dualkd's EMA teacher scores ")
    assert len(by_student.out.splitlines()) == len(by_ema.out.splitlines()) == 1


def test_json_holds_the_sentences_figures_and_no_nan():
    outcome = bench("compare", "daformer", "dualkd", *NARROWED, "--format", "json")
    values = json.loads(outcome.out, parse_constant=pytest.fail)
    assert f"{values['difference']['mean']:.1f} points more" in values["sentence"]
    assert values["difference"]["n"] == 3
    assert values["classes"]["road"]["mean"] == pytest.approx(
        values["b"]["iou"]["road"] - values["a"]["iou"]["road"]
    )


EDITION2 = (ROOT / "results/tables/edition2/main.txt").read_text("utf-8").split()


@pytest.fixture
def everywhere(monkeypatch):
    """`bench compare daformer dualkd` of two scenarios at two lengths each, in some format."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *more: bench("compare", "daformer", "dualkd", *EDITION2, *more)


def test_several_scenarios_and_schedules_make_a_table_with_both_networks(everywhere):
    outcome = everywhere("--format", "markdown")
    assert outcome.code == 0, outcome.err
    head, _, *rows = [line for line in outcome.out.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == [
        "scenario", "compared", "students", "EMA teachers", "seeds", "training time", "memory",
    ]  # fmt: skip
    assert [row.split("|")[2].strip() for row in rows] == [
        "dualkd x2 over daformer x2", "dualkd x4 over daformer x4",
    ] * 2  # fmt: skip
    assert "corrected over the 4 of its column (Holm)" in outcome.out
    assert "dualkd x4 over daformer x4" in everywhere().out


def test_a_tables_differences_are_those_of_the_comparisons_corrected_over_its_column(everywhere):
    values = json.loads(everywhere("--format", "json").out, parse_constant=pytest.fail)
    assert [one["network"] for one in values] == ["student", "ema_teacher"] * 4
    told = [one for one in values if one["network"] == "ema_teacher"]
    assert [4 * one["difference"]["p"] < 0.05 for one in told] == [True, True, False, False]
    rows = everywhere("--format", "markdown", "--network", "ema").out.splitlines()
    cells = [row.split("|")[3].strip() for row in rows if row.startswith("| ")][1:]
    assert [cell.endswith("~") for cell in cells] == [False, False, True, True]
    for one, cell in zip(told, cells, strict=True):
        assert cell.startswith(f"{one['difference']['mean']:+.1f} [{one['difference']['low']:.1f},")


def test_one_comparison_is_a_table_too_where_both_networks_are_asked_for(everywhere):
    narrowed = ("--scenario", "gta2cs", "--length", "2", "--network", "both")
    rows = [
        x for x in everywhere("--format", "markdown", *narrowed).out.splitlines() if "over" in x
    ]
    assert rows[0].startswith("| gta2cs     | dualkd x2 over daformer x2 | ")
    assert len(json.loads(everywhere("--format", "json", *narrowed).out)) == 2


def test_a_table_of_single_seeds_tests_nothing_and_says_so():
    outcome = bench("compare", "2084b3650a", "124288878e", RECORDS, "--network", "both")
    assert "told from chance: of too few seeds." in " ".join(outcome.out.split())


def test_sentences_of_several_say_their_scenario(everywhere):
    lines = everywhere("--format", "sentence", "--network", "ema").out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["gta2cs", "gta2cs"] + ["synthia2cs"] * 2


def test_runs_are_named_by_id_and_by_file():
    by_id = bench("compare", "2084b3650a", "124288878e", RECORDS)
    files = [next(RECORDS.glob(f"*-{run}.json")) for run in ("2084b3650a", "124288878e")]
    by_file = bench("compare", *files, RECORDS)
    assert by_id.code == by_file.code == 0
    assert by_id.out == by_file.out
    assert "Warning: n < 3" in by_id.out


ABLATION = (ROOT / "results/ablation/records", "--scenario", "gta2cs", "--format", "sentence")


def test_two_settings_of_one_method_are_compared():
    """Numbers by value, a list as it is typed, a knob that records do not hold by its default."""
    asked = "dualkd:lambda_kd=3,warm_target=true,teacher_training=source"
    found = bench("compare", "dualkd:lambda_kd=30.0", asked, *ABLATION)
    assert found.code == 0, found.err
    assert re.match(r"dualkd \(lambda_kd=3.* scores .* than dualkd \(lambda_kd=30", found.out)
    by_stage = bench("compare", "daformer", "dualkd:stages=4,projection=conv", *ABLATION)
    assert by_stage.out.startswith("dualkd (stages=4, projection=conv) scores "), by_stage.err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("dualkd:distance=l1", "distance=l1: no run of it; those in .* have distance cosine, kl, "),
        ("dualkd:distances=l2", "dualkd has no knob distances; `bench info dualkd` lists them"),
    ],
)
def test_settings_that_no_run_has_are_refused_with_what_there_is(asked, said):
    assert re.search(said, refused(bench("compare", "daformer", asked, *ABLATION)))


def test_a_knob_of_a_plug_in_that_is_not_here_is_refused_too(tmp_path):
    store.write(fake_record("mine"), tmp_path / "records")
    said = refused(bench("compare", "mine", "mine:depth=3", "--results", tmp_path))
    assert "mine has no knob depth" in said


def test_an_unknown_name_is_refused_with_what_there_is():
    said = refused(bench("compare", "daformer", "dualkt", RECORDS, "--scenario", "gta2camvid"))
    assert "dualkt: no done run of it found" in said
    assert "daformer, dualkd, oracle, source_only" in said


def test_a_folder_without_records_is_refused(tmp_path):
    said = refused(bench("compare", "daformer", "dualkd", "--results", tmp_path))
    assert f"daformer: no done run of it found in {tmp_path / 'records'};" in said
