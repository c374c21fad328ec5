"""The comparison table's columns by name, their order and their decimals."""

from __future__ import annotations

import csv
import io
from statistics import mean

import pytest
from fake_records import FOUR_SCORES, fake_record, four_methods, without_labels

from harness.analysis.comparison import comparison
from harness.cli.table import COLUMN_NAMES
from harness.errors import BenchError
from harness.evaluation.registry import METRICS
from harness.report.columns import COLUMNS, LABEL_FREE, column_keys, main_grid, sorted_rows
from harness.report.formats import render

KEYS = ["method", *LABEL_FREE]


def table(*records):
    (made,) = comparison(list(records))
    return made


def test_label_free_figures_have_columns_of_their_own():
    runs = [
        without_labels(fake_record(method, seed), entropy)
        for method, entropies in {"dacs": (0.5, 0.7), "mic": (1.0, 1.5)}.items()
        for seed, entropy in enumerate(entropies)
    ]
    made = table(*runs)
    grid = main_grid(made, KEYS)
    assert grid.columns[1:] == [title for title, _ in LABEL_FREE.values()]
    assert grid.rows == [
        ["dacs", "0.600 ± 0.141 (2)", "1.200 ± 0.283 (2)", "1.800 ± 0.424 (2)", "24.0 ± 5.7 (2)"],
        ["mic", "1.250 ± 0.354 (2)", "2.500 ± 0.707 (2)", "3.750 ± 1.061 (2)", "50.0 ± 14.1 (2)"],
    ]
    assert "--columns method,entropy,infomax,snd,agreement" in " ".join(grid.notes)
    assert [row.method for row in sorted_rows(made, "entropy").rows] == ["dacs", "mic"]
    assert [row.method for row in sorted_rows(made, "snd").rows] == ["mic", "dacs"]


def test_they_stand_in_no_table_that_does_not_name_them_and_are_absent_of_scored_runs():
    made = table(*four_methods())
    assert not set(main_grid(made).columns) & {title for title, _ in LABEL_FREE.values()}
    assert {cell for row in main_grid(made, KEYS).rows for cell in row[1:]} == {"-"}
    assert set(LABEL_FREE) <= set(COLUMNS)


def test_columns_are_those_asked_for_in_their_order():
    text = render(four_methods(), "markdown", columns=["miou", "method"])
    header = next(line for line in text.splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "mIoU % (all19, tiny)",
        "method",
    ]
    with pytest.raises(BenchError, match="did you mean 'miou'"):
        column_keys("method,miuo", "--columns")
    with pytest.raises(BenchError, match="csv holds every figure"):
        render(four_methods(), "csv", columns=["miou"])


PRECISE = {
    0: ["24 ± 2 (3)", "27 ± 1 (3)", "+3 [-1, 7] ~"],
    2: ["23.57 ± 2.15 (3)", "26.53 ± 0.85 (3)", "+2.97 [-0.61, 6.54] ~"],
}


@pytest.mark.parametrize("decimals", PRECISE)
@pytest.mark.parametrize("form", ["markdown", "html", "latex", "rich"])
def test_scores_and_gains_have_as_many_decimals_as_asked_for(form, decimals):
    text = render(four_methods(), form, precision=decimals)
    if form == "latex":
        text = text.replace(r"$\pm$", "±").replace("$-$", "-").replace(r"$\sim$", "~")
    assert [figure for figure in PRECISE[decimals] if figure not in text] == []
    by_class = render(four_methods(), form, per_class=True, precision=decimals)
    assert f"{mean(FOUR_SCORES['source_only']) - 9:.{decimals}f}" in by_class


def test_one_decimal_is_what_nobody_asked_for():
    records = four_methods()
    for form in ("markdown", "html", "latex", "rich"):
        assert render(records, form, precision=1) == render(records, form)
    for form in ("csv", "json"):
        with pytest.raises(BenchError, match=f"{form} holds every figure unrounded"):
            render(records, form, precision=1)


def test_every_column_can_be_asked_for_and_is_named_in_the_help():
    named = column_keys(COLUMN_NAMES, "--columns")
    assert [*named, *METRICS, *LABEL_FREE] == list(COLUMNS)
    assert "oracle" in render(four_methods(), "markdown", columns=list(COLUMNS))


def test_registered_metrics_are_columns_by_their_names():
    def measured(method, miou, **figures):
        record = fake_record(method, miou=miou)
        scores = record.metrics.student.model_copy(update={"figures": figures})
        metrics = record.metrics.model_copy(update={"student": scores})
        return record.model_copy(update={"metrics": metrics})

    plain = [measured("source_only", 30, pixel_accuracy=70.0), measured("dacs", 35)]
    assert "pixel accuracy" not in render(plain, "markdown")
    assert " 70.0 (1) |" in render(plain, "markdown", columns=["method", "pixel_accuracy"])
    asked = [measured("source_only", 30, boundary_iou=9.0), measured("dacs", 35, boundary_iou=12.5)]
    assert "boundary IoU %" in render(asked, "markdown")
    lines = render(asked, "markdown", columns=["method", "boundary_iou"], sort="boundary_iou")
    assert lines.index("12.5 (1)") < lines.index("9.0 (1)")


def test_the_best_row_is_first_and_a_row_without_the_figure_last():
    def sorted_by(key):
        text = render(four_methods(), "csv", sort=key)
        return [row["method"] for row in csv.DictReader(io.StringIO(text))]

    assert sorted_by("miou") == ["oracle", "dualkd", "daformer", "source_only"]
    assert sorted_by("gain") == ["oracle", "dualkd", "daformer", "source_only"]
    assert sorted_by("seconds")[0] == "source_only"
    with pytest.raises(BenchError, match="it holds text"):
        sorted_by("method")


@pytest.mark.parametrize("sort", ["miou", "params"])
def test_rows_have_one_name_in_any_order(sort):
    """The student that most rows share is not named, and of equally many not the first."""
    records = [
        fake_record(method, seed, miou + seed, student=student)
        for method, miou in (("source_only", 20), ("dacs", 30))
        for student in ("b1", "b0")
        for seed in (0, 1)
    ]
    (line,) = {text.count("\n") for text in (render(records, "csv", by_seed=True, sort=sort),)}
    assert line == 9
    assert "dacs of b1" in render(records, "markdown", per_class=True, sort=sort)


def test_rows_are_sorted_by_the_other_conventions_figure():
    scores = ((30.0, 10.0), (20.0, 50.0))
    records = [
        fake_record(f"m{i}", 0, miou, scenario="synthia2cs",
                    conventions={"rescaled19": miou, "ignored16": other})
        for i, (miou, other) in enumerate(scores)
    ]  # fmt: skip
    text = render(records, "csv", sort="other_miou")
    assert text.index("\nsynthia2cs") < text.index("m1,") < text.index("m0,")


def test_columns_that_no_row_fills_are_named_all_the_same():
    grid = main_grid(table(fake_record("dacs")), ["second", "second_ema", "other_miou"])
    assert grid.columns == [
        "mIoU % on a second split",
        "EMA teacher mIoU % on a second split",
        "mIoU % (another convention)",
    ]
    assert grid.rows == [["-", "-", "-"]]
