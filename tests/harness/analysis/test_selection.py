"""Checkpoints chosen by rules, and validators held against the mIoU, from records alone."""

from __future__ import annotations

import json
import math

import pytest
from bench_cli import bench, refused
from fake_records import fake_provenance, fake_record, without_labels

from harness.analysis.comparison import comparison
from harness.analysis.selection import rank_correlations, selected, selections
from harness.errors import BenchError
from harness.records import store
from harness.records.schema import Curve, CurvePoint, NetworkScores, Record
from harness.report.selection import render_selections

STEPS = (100, 200, 300, 400)


def scores(miou: float, entropy: float, snd: float) -> NetworkScores:
    return NetworkScores(miou=miou, entropy=entropy, infomax=1.0, snd=snd)


def with_curve(method: str, seed: int, mious: tuple[float, ...], ema: bool = True) -> Record:
    """Entropy falls as mIoU rises; soft neighbourhood density is wrong about every step."""
    record = fake_record(method, seed, mious[-1], ema_miou=mious[-1] + 2 if ema else None)
    points = [
        CurvePoint(
            step=step,
            student=scores(miou, 2 - miou / 100, 9 - miou / 10),
            ema_teacher=scores(miou + 2, 1.5, 5 - step / 100) if ema else None,
            agreement=step / 10 if ema else None,
        )
        for step, miou in zip(STEPS, mious, strict=True)
    ]
    curve = Curve(images=64, seconds=1.0, points=points)
    assert record.metrics
    return record.model_copy(update={"metrics": record.metrics.model_copy(update={"curve": curve})})


@pytest.fixture
def records() -> list[Record]:
    return [
        with_curve("dacs", 0, (20.0, 28.0, 33.0, 31.0)),
        with_curve("dacs", 1, (22.0, 27.0, 30.0, 32.0)),
        with_curve("source_only", 0, (18.0, 21.0, 20.0, 19.0), ema=False),
        fake_record("oracle", 0, 50.0),
    ]


def test_a_rule_takes_its_own_step_of_each_network(records):
    runs, left_out = selected(records, "oracle")
    assert [run.metrics.student.miou for run in runs] == [33.0, 32.0, 21.0]
    assert [run.metrics.ema_teacher.miou for run in runs[:2]] == [35.0, 34.0]
    assert left_out == 1, "the run without a curve"
    assert [run.metrics.student.miou for run in selected(records, "entropy")[0]] == [33, 32, 21]
    snd = selected(records, "snd")[0]
    assert [run.metrics.student.miou for run in snd] == [20.0, 22.0, 18.0]
    assert snd[0].metrics.ema_teacher.miou == 22.0
    agreement, without = selected(records, "agreement")
    assert [run.metrics.student.miou for run in agreement] == [31.0, 32.0]
    assert without == 2, "one without an EMA teacher, one without a curve"


def test_a_chosen_table_says_by_what_and_shares_none_with_the_last_iteration(records):
    (table,) = comparison(selected(records, "oracle")[0])
    assert "selection oracle" in table.heading
    assert any("oracle chooses by target labels: a bound, no result" in n for n in table.shared)
    (last,) = comparison(selected(records, "last")[0])
    assert "selection" not in last.heading
    assert "Student mini-b0, at the last iteration." in last.shared
    assert len(comparison([*records, *selected(records, "oracle")[0]])) == 2


def test_rules_stand_side_by_side_and_validators_are_judged(records):
    (one,) = selections(records)
    rows = {(row.label, row.network): row.miou for row in one.rows}
    student = rows["dacs", "student"]
    assert [student[rule].mean for rule in ("last", "oracle", "snd")] == [31.5, 32.5, 21.0]
    assert "agreement" not in rows["source_only", "student"]
    assert ("source_only", "ema_teacher") not in rows
    quality = {(q.validator, q.network): q for q in one.qualities}
    entropy, snd = quality["entropy", "student"], quality["snd", "student"]
    assert (entropy.spearman.mean, entropy.kendall.mean, entropy.spearman.n) == (1, 1, 3)
    assert (entropy.spearman_of_all, entropy.checkpoints, entropy.lost.mean) == (1, 12, 0)
    assert (snd.spearman.mean, snd.kendall_of_all) == (pytest.approx(-1), pytest.approx(-1))
    assert snd.lost.mean == pytest.approx((13 + 10 + 3) / 3)
    assert quality["infomax", "student"].spearman.n == 0, "constant: no order"
    assert math.isnan(quality["infomax", "student"].spearman_of_all)
    assert quality["agreement", "student"].spearman.mean == pytest.approx((0.8 + 1) / 2)


def test_rules_side_by_side_note_what_the_runs_were_made_by(records):
    assert "Warning" not in render_selections(records, "markdown")
    made_by = [{**fake_provenance(), "versions": {"torch": v}} for v in ("2.9.0", "9.9.9", "2.9.0")]
    mixed = [
        record.model_copy(update={"provenance": provenance})
        for record, provenance in zip(records, made_by, strict=False)
    ]
    assert "2 versions of torch" in render_selections(mixed, "markdown")


def test_rank_correlations_are_those_of_the_textbook():
    assert rank_correlations([(1, 2), (2, 1), (3, 4), (4, 3)]) == pytest.approx((0.6, 1 / 3))
    assert rank_correlations([(1, 2), (2, 1), (3, math.nan)]) is None
    assert rank_correlations([(1, 2), (1, 3), (1, 4)]) is None


def test_the_command_line_shows_one_rule_or_all(records, tmp_path):
    for record in records:
        store.write(record, tmp_path / "records")
    table = ["table", "--results", tmp_path, "--format"]
    one = bench(*table, "markdown", "--selection", "oracle")
    assert "selection oracle" in one.out
    assert "32.5 ± 0.7 (2)" in one.out
    assert "left out: 1 without a curve for oracle, or labels" in one.err
    all_rules = bench(*table, "markdown", "--selection", "all").out
    assert "oracle (target labels)" in all_rules
    assert "| dacs        | EMA teacher |" in all_rules
    assert "Validators against mIoU" in all_rules
    content = json.loads(bench(*table, "json", "--selection", "all").out)
    assert content[0]["rows"][0]["miou"]["oracle"]["n"] == 1
    assert "one rule" in refused(bench(*table, "latex", "--selection", "all"))
    assert "--per-class" in refused(bench(*table, "csv", "--per-class", "--selection", "snd"))
    assert "--sort" in refused(bench(*table, "json", "--sort", "miou", "--selection", "all"))
    (tmp_path / "plain").mkdir()
    store.write(records[-1], tmp_path / "plain/records")
    for rule in ("snd", "all"):
        outcome = bench("table", "--results", tmp_path / "plain", "--selection", rule)
        assert "score_every" in refused(outcome)


def test_where_the_target_has_no_labels_no_rule_has_an_miou(records):
    runs = [without_labels(run) for run in records]
    with pytest.raises(BenchError, match="4 runs has no labels"):
        selections(runs)
    assert selected([*records, *runs], "snd")[1] == 5, "one without a curve, four without labels"
    (table,) = comparison(runs)
    assert all(row.gain is None for row in table.rows)
    assert sum("no labels to score on" in note for note in table.notes) == 1
    assert not any("Warning" in note for note in table.notes)


def test_without_a_curve_nothing_is_chosen():
    with pytest.raises(BenchError, match="score_every=500"):
        selected([fake_record()], "entropy")
