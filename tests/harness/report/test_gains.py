"""The gain column: interval, mark, and the notes that explain both."""

import pytest
from fake_records import fake_record, four_methods

from harness.analysis.comparison import comparison
from harness.report.formats import render


def test_a_gain_has_its_interval_and_a_mark_where_it_cannot_be_told_from_chance():
    (table,) = comparison(four_methods())
    assert table.rows[0].gain is None
    text = render(four_methods(), "markdown")
    assert "+3.0 [-0.6, 6.5] ~ |" in text  # daformer: p = 0.09
    assert "+10.9 [7.3, 14.4] |" in text  # dualkd


def test_the_notes_say_how_gains_were_tested_and_what_the_seeds_can_see():
    notes = " ".join(comparison(four_methods())[0].notes)
    assert "one deviation of a run, 1.9 points, pooled over 4 rows (8 degrees of freedom)" in notes
    assert "~ cannot be told from chance: p >= 0.05, corrected over 3 comparisons (Holm)." in notes
    assert "n = 3 finds a true difference of 6.2 points with 80 % power." in notes


def test_a_gain_that_p_alone_would_mark_is_not_once_corrected():
    """Two rows more, and what stood out among fewer is what chance does."""
    scores = {"source_only": (20, 22, 24), "a": (25, 26, 25), "b": (21, 22, 23), "c": (22, 21, 24)}
    runs = [fake_record(m, seed, y) for m, ys in scores.items() for seed, y in enumerate(ys)]
    gain = next(row.gain for row in comparison(runs)[0].rows if row.method == "a")
    assert gain.p < 0.05 < gain.p_holm
    assert "] ~ |" in next(x for x in render(runs, "markdown").splitlines() if x.startswith("| a"))


def test_few_seeds_are_warned_of_and_carry_no_mark():
    text = render([fake_record(miou=30), fake_record("daformer", miou=30.1)], "markdown")
    assert "Warning: n < 3 for source_only (1), daformer (1)" in text
    assert "+0.1 |" in text
    assert "~" not in text


def test_a_table_of_few_rows_is_tested_by_welchs_test_and_says_so():
    records = [r for r in four_methods() if r.spec.method in ("source_only", "daformer")]
    assert "Welch's t-test: fewer than 4 rows to pool" in render(records, "markdown")


def test_many_rows_of_few_seeds_are_not_listed_one_by_one():
    runs = [fake_record("dualkd", 0, 33, config={"lambda_kd": n}) for n in range(5)]
    (table,) = comparison(runs)
    assert any(note.startswith("Warning: n < 3 for every row:") for note in table.notes)


def test_students_have_their_own_source_only():
    records = [
        fake_record("source_only", 0, 20, student="a"),
        fake_record("source_only", 0, 30, student="b"),
        fake_record("daformer", 0, 33, student="b"),
    ]
    (table,) = comparison(records)
    assert table.rows[2].gain.mean == pytest.approx(3)
    header = next(x for x in render(records, "markdown").splitlines() if x.startswith("|"))
    assert "| student" in header
