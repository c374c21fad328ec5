"""Gains over source-only at equal steps and at equal seconds, and tables of several lengths."""

import math

import pytest
from fake_records import fake_cost, fake_provenance, fake_record

from harness.analysis.comparison import comparison
from harness.analysis.equal_cost import Point, at_steps, curve, training_seconds
from harness.records.schema import Record, TeacherCost
from harness.report.cells import difference_text
from harness.report.formats import render

POINTS = [Point(1, 100, {0: 30.0, 1: 32.0}), Point(2, 200, {0: 34.0, 1: 40.0})]


def run(method: str, length: int, seed: int, miou: float, *, step: float = 0.1, **spec) -> Record:
    """800 steps a length, each of `step` seconds."""
    profile = {"length": length, "iterations": 800 * length, **spec.pop("profile", {})}
    cost = fake_cost(wall_seconds=step * 800 * length, teachers=spec.pop("trained", None))
    return fake_record(method, seed, miou, cost=cost, profile=profile, **spec)


def floor(seed: int) -> list[Record]:
    """30, 34 and 38 at x1, x2 and x4: 80, 160 and 320 seconds."""
    return [run("source_only", length, seed, 30 + 4 * i) for i, length in enumerate((1, 2, 4))]


def row(records: list[Record], label: str):
    (table,) = comparison(records)
    return next(row for row in table.rows if row.label == label)


def test_between_two_lengths_the_score_is_linear_in_the_logarithm_of_steps():
    between = at_steps(POINTS, 100 * math.sqrt(2))
    assert between.scores == pytest.approx({0: 32.0, 1: 36.0})
    assert between.longest is None


def test_beyond_the_longest_nothing_is_extrapolated():
    assert at_steps(POINTS, 200.0).longest is None
    assert at_steps(POINTS, 201.0).scores == {0: 34.0, 1: 40.0}
    assert at_steps(POINTS, 201.0).longest == 2
    assert at_steps(POINTS, 60.0).scores == {0: 30.0, 1: 32.0}


def test_a_seed_that_only_one_of_two_lengths_has_is_left_out():
    points = [POINTS[0], Point(2, 200, {0: 34.0})]
    assert set(at_steps(points, 150.0).scores) == {0}


def test_a_curve_needs_two_lengths():
    assert curve([[run("source_only", 1, 0, 30)]]) == []


def test_what_slows_one_run_of_a_row_is_no_cost_of_its_method():
    runs = [run("daformer", 1, 0, 33), run("daformer", 1, 1, 33), run("daformer", 1, 2, 33, step=9)]
    assert training_seconds(runs) == pytest.approx(80)


def test_seconds_of_a_busy_machine_are_those_that_the_training_computed():
    """Three times as long by the wall as the processor worked for it."""
    cost = fake_cost(wall_seconds=240.0, processor_seconds=80.0)
    slow = fake_record("daformer", 0, 33, cost=cost)
    teacher = TeacherCost(
        network="mini_m", parameters_m=1, weights_id="a",
        training=fake_cost(wall_seconds=60.0, processor_seconds=20.0).training,
    )  # fmt: skip
    cost = fake_cost([teacher], wall_seconds=240.0, processor_seconds=80.0)
    taught = fake_record("dualkd", 0, 33, cost=cost,
                         teachers=[{"network": "mini_m", "weights_id": "a"}])  # fmt: skip
    assert training_seconds([slow]) == pytest.approx(80)
    assert training_seconds([taught]) == pytest.approx(100)


def test_a_methods_seconds_are_its_own_and_its_frozen_teachers():
    """100 + 60 seconds are source-only's x2: 40 against 34, and 40 against 30 at equal steps."""
    teacher = TeacherCost(
        network="mini_m", parameters_m=1, weights_id="a",
        training=fake_cost(wall_seconds=60.0).training,
    )  # fmt: skip
    taught = run("dualkd", 1, 0, 40, step=1 / 8, trained=[teacher],
                 teachers=[{"network": "mini_m", "weights_id": "a"}])  # fmt: skip
    shown = row([*floor(0), taught], "dualkd")
    assert shown.train_seconds == pytest.approx(160)
    assert shown.gain.mean == pytest.approx(10)
    assert shown.gain_at_seconds.mean == pytest.approx(6)


def test_between_two_schedules_of_source_only_the_table_has_the_score_at_those_seconds():
    """Half-way from 160 to 320 seconds, in the logarithm, is half-way from 34 to 38."""
    shown = row([*floor(0), run("daformer", 1, 0, 40, step=0.2 * math.sqrt(2))], "daformer")
    assert shown.train_seconds == pytest.approx(226.27, abs=0.01)
    assert shown.gain.mean == pytest.approx(10)
    assert shown.gain_at_seconds.mean == pytest.approx(4)
    assert shown.gain_beyond is None


def on(machine: str, records: list[Record]) -> list[Record]:
    provenance = fake_provenance(machine)
    return [record.model_copy(update={"provenance": provenance}) for record in records]


def test_seconds_are_those_of_source_only_on_the_methods_own_machine():
    """There a step of source-only takes 0.25 s: 400 seconds are x2, and here x5."""
    there = on(
        "Slow", [run("source_only", 2, 1, 36, step=0.25), run("daformer", 1, 0, 40, step=0.5)]
    )
    shown = row([*floor(0), *there], "daformer")
    assert shown.seconds_on == {"Slow": pytest.approx(400)}
    assert shown.gain_at_seconds.mean == pytest.approx(40 - 34)


def test_a_row_of_two_machines_takes_as_long_as_their_median_says():
    floor_there = [run("source_only", n, 1, 26 + 4 * n, step=0.2) for n in (1, 2)]
    there = on("Slow", [*floor_there, run("daformer", 1, 1, 40, step=0.4)])
    shown = row([*floor(0), run("daformer", 1, 0, 40, step=0.2), *there], "daformer")
    assert shown.gain_at_seconds.mean == pytest.approx(6), "x2 on each of them"


def test_without_source_only_on_a_methods_machine_its_gain_at_equal_seconds_is_not_known():
    (table,) = comparison([*floor(0), *on("Slow", [run("daformer", 1, 0, 40)])])
    (shown,) = (row for row in table.rows if row.method == "daformer")
    assert shown.gain
    assert shown.gain_at_seconds is None
    assert (
        "gain at equal seconds: not known of daformer, run on Slow, where no source_only ran; run "
        "one of any length there."
    ) in table.notes


def test_the_cell_says_where_the_method_trained_for_longer_than_any_source_only():
    text = render([*floor(0), run("daformer", 1, 0, 40, step=0.5)], "markdown")
    assert "| +10.0 | +2.0 beyond x4 |" in " ".join(text.replace("|", " | ").split())


def test_a_gain_at_equal_steps_is_over_source_only_of_that_length():
    shown = row([*floor(0), run("daformer", 2, 0, 37)], "daformer x2")
    assert shown.gain.mean == pytest.approx(3)


def seeds(method: str, length: int, miou: float) -> list[Record]:
    return [run(method, length, seed, miou + shift) for seed, shift in enumerate((-0.3, 0, 0.3))]


def four_rows(at_two: float) -> list[Record]:
    lengths = ((1, 30), (2, 34))
    records = [r for length, miou in lengths for r in seeds("source_only", length, miou)]
    return records + seeds("daformer", 1, 36) + seeds("daformer", 2, at_two) + seeds("fda", 1, 36)


def test_a_gain_of_one_length_that_another_does_not_confirm_is_marked_as_chance():
    held, lost = four_rows(at_two=38), four_rows(at_two=34.1)
    assert row(held, "daformer").gain.significant
    assert row(held, "daformer x2").gain.significant
    assert not row(lost, "daformer").gain.significant
    assert row(lost, "daformer").gain.p_holm < 0.05
    assert row(lost, "fda").gain.significant, "it was run at one length, which a note says"


def test_a_length_of_too_few_seeds_decides_nothing():
    """One run at another length neither takes a tested gain nor is told from chance itself."""
    records = [*four_rows(at_two=9.0), *seeds("dacs", 1, 33)]
    records = [r for r in records if r.spec.profile.length == 1 or r.spec.seed == 0]
    marked = {label: row(records, label).gain for label in ("daformer", "daformer x2")}
    assert marked["daformer"].significant
    assert not marked["daformer x2"].significant
    assert difference_text(marked["daformer x2"]).endswith(" ~")
    text = render(records, "json")
    assert '"tested": false' in text


def test_neither_does_a_loss_confirm_a_gain():
    assert not row(four_rows(at_two=30), "daformer").gain.significant


def test_the_notes_say_what_the_columns_are_and_which_methods_have_one_length():
    notes = " ".join(comparison(four_rows(at_two=38))[0].notes)
    assert "trained for as long, the frozen teacher's training included" in notes
    assert "Run at one length only, which tells nothing of others: fda." in notes


def test_rows_stand_in_the_order_of_their_lengths():
    records = [run("source_only", length, 0, 30) for length in (16, 2, 1)]
    (table,) = comparison(records)
    assert [row.label for row in table.rows] == ["source_only", "source_only x2", "source_only x16"]


def test_a_table_of_one_length_has_the_columns_it_had():
    header = render([run("source_only", 1, 0, 30), run("daformer", 1, 0, 33)], "markdown")
    assert "| gain |" in " ".join(header.split())
    assert "equal" not in header


def test_two_editions_of_a_profile_share_no_table():
    records = [run("source_only", 1, 0, 30), run("daformer", 1, 0, 33, profile={"edition": 2})]
    headings = [table.heading for table in comparison(records)]
    assert [heading.partition(" (")[0] for heading in headings] == [
        "GTA5 -> Cityscapes, profile tiny", "GTA5 -> Cityscapes, profile tiny v2",
    ]  # fmt: skip
