"""The comparison table's columns by name."""

from __future__ import annotations

from fake_records import fake_record, four_methods, without_labels

from harness.analysis.comparison import comparison
from harness.report.columns import COLUMNS, LABEL_FREE, main_grid, sorted_rows

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
