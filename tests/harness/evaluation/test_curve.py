"""Networks scored while they learn: training does not notice, and the record holds it."""

from __future__ import annotations

from bench_cli import QUICK, bench

from harness.evaluation.curve import IMAGES, sample
from harness.evaluation.validators import RULES
from harness.records import store
from harness.records.schema import Metrics

DACS = ["run", "--method", "dacs", "--scenario", "gta2cs", *QUICK]


def apart_from_curve_and_memory(metrics: Metrics) -> Metrics:
    """Of what earlier trainings of this process left in caches, a later one holds nothing anew."""
    golden = metrics.golden.model_copy(update={"held_mib": []})
    return metrics.model_copy(update={"curve": None, "golden": golden})


def test_a_run_scored_while_it_learns_ends_as_one_that_was_not(tmp_path):
    records = {}
    for name, settings in (("scored", ["--set", "score_every=2"]), ("plain", [])):
        outcome = bench(*DACS, *settings, "--results", tmp_path / name)
        assert outcome.code == 0, outcome.err
        (records[name],) = store.read_all(tmp_path / name / "records")
    scored, plain = records["scored"].metrics, records["plain"].metrics
    assert plain.curve is None
    assert apart_from_curve_and_memory(scored) == apart_from_curve_and_memory(plain)
    assert records["scored"].run_id == records["plain"].run_id
    curve = scored.curve
    assert [point.step for point in curve.points] == [2, 4]
    assert curve.points[-1].student.miou == scored.student.miou
    assert curve.points[-1].ema_teacher.miou == scored.ema_teacher.miou
    assert curve.points[0].student != curve.points[1].student
    assert curve.images == 6
    assert curve.seconds > 0
    assert set(curve.chosen) == set(RULES)

    again = bench(*DACS, "--set", "score_every=2", "--results", tmp_path / "plain")
    said = " ".join(again.out.split())
    assert "without the scores that score_every or second_split asks for: run again" in said
    (record,) = store.read_all(tmp_path / "plain/records")
    assert record.metrics.curve.points == curve.points
    done = bench(*DACS, "--set", "score_every=2", "--results", tmp_path / "plain")
    assert "is done" in done.out


def test_the_sample_is_fixed_and_no_larger_than_the_set():
    assert sample(6) == list(range(6))
    assert len(sample(1000)) == len(set(sample(1000))) == IMAGES
    assert sample(1000) == sorted(sample(1000)) != list(range(IMAGES))
