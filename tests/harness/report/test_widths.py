"""The published main table at several widths: columns are left out whole, no figure is cut."""

import io
import re
from pathlib import Path

import pytest
from fake_records import fake_record
from golden_tables import WIDTHS, golden_file, golden_grid
from golden_tables import printed as as_printed
from rich.console import Console

from harness.analysis.comparison import comparison
from harness.records import store
from harness.report.columns import Grid, grids
from harness.report.fitting import column_widths, wrapped
from harness.report.formats import print_grid

RECORDS = Path(__file__).parents[3] / "results/records"
LEFT_OUT = re.compile(r"Leftoutforwantofwidth:(.*?);--formatmarkdownshowsall")


@pytest.fixture(scope="module")
def published() -> list[Grid]:
    return grids(comparison(store.read_all(RECORDS)), per_class=True, with_published=False)


def printed(grid: Grid, width: int, is_terminal: bool) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None
    )
    print_grid(grid, console, "--format markdown")
    return console.file.getvalue()


def columns_shown(grid: Grid, text: str, width: int) -> list[int]:
    """Which, as the note under the table says, wherever its lines break."""
    shown = [*column_widths(grid.columns, grid.rows, grid.alignment, width)]
    left_out = [name for i, name in enumerate(grid.columns) if i not in shown]
    note = LEFT_OUT.search("".join(text.split()))
    assert (note[1] if note else "") == "".join(", ".join(left_out).split())
    return shown


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
def test_every_figure_of_the_columns_shown_is_printed_in_full(published, width, is_terminal):
    for grid in published:
        text = printed(grid, width, is_terminal)
        assert max(map(len, text.splitlines())) <= width
        shown = columns_shown(grid, text, width)
        lines = iter(text.splitlines())
        for row in grid.rows:
            figures = " ".join(row[i] for i in shown if grid.alignment[i] == "right").split()
            assert figures
            assert any(line.split()[-len(figures) :] == figures for line in lines), row


def test_a_setting_in_a_methods_name_is_not_broken():
    name = "minent (lambda_ent=0.001)"
    rows = [[name, "mini_m", "33.5 ± 3.2 (3)", "+2.5 ~"]]
    grid = Grid("heading", ["method", "teacher", "mIoU % (all19, tiny)", "gain"], rows, [])
    text = printed(grid, 60, is_terminal=False)
    assert "(lambda_ent=0.001)" in text
    assert "+2.5 ~" in text


def test_the_widest_column_left_out_makes_no_room_for_the_next():
    """Columns go from the right: what is shown is a table's beginning."""
    grid = Grid("heading", ["method", "a" * 9, "b" * 30, "c"], [["x", "1", "2" * 30, "3"]], [])
    text = printed(grid, 40, is_terminal=False)
    assert "Left out for want of width: bbb" in " ".join(text.split())
    assert "3" not in text.partition("Left out")[0]


def test_names_are_left_out_before_the_first_figure():
    columns = ["method", "student", "teacher", "mIoU %", "gain"]
    rows = [["a_method", "timm:a_student", "mmseg:a_teacher", "33.5 ± 3.2 (3)", "+2.5 [0.1, 4.9]"]]
    grid = Grid("heading", columns, rows, [])
    shown = {
        width: [columns[i] for i in column_widths(columns, rows, grid.alignment, width)]
        for width in (90, 60, 50, 40, 30, 12)
    }
    assert shown == {
        90: columns,
        60: columns[:4],
        50: ["method", "student", "mIoU %"],
        40: ["method", "mIoU %"],
        30: ["method", "mIoU %"],
        12: ["method"],
    }
    text = " ".join(printed(grid, 40, is_terminal=False).split())
    assert "Left out for want of width: student, teacher, gain;" in text


def test_a_terminal_of_few_columns_shows_one_whole():
    grid = Grid("heading", ["method", "peak MiB"], [["a_long_name", "123456"]], [])
    text = printed(grid, 12, is_terminal=False)
    assert "123" not in text
    assert "Left out" in text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
def test_the_main_table_looks_as_it_did(width, is_terminal):
    text = as_printed(golden_grid(), width, is_terminal=is_terminal)
    assert text == golden_file(width).read_text(encoding="utf-8")


@pytest.mark.parametrize("width", range(12, 60))
def test_no_line_is_too_long_and_no_tilde_alone(width):
    text = "gain over five; ~ cannot be told from chance at n = 3: mmseg:segformer/mit-b0_8xb1-160k"
    lines = wrapped(text, width).split("\n")
    assert max(map(len, lines)) <= width
    assert not any(line.endswith(("~", "=", " ")) or line.startswith("=") for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("timm:pvt_v2_b0:topdown", 20, ["timm:pvt_v2_b0:", "topdown"]),
        ("minent (lambda_ent=0.001)", 18, ["minent", "(lambda_ent=0.001)"]),
        ("a_name", 80, ["a_name"]),
        ("x" * 9, 4, ["xxxx", "xxxx", "x"]),
    ],
)
def test_a_name_breaks_after_a_sign(name, width, lines):
    assert wrapped(name, width).split("\n") == lines


def test_headings_by_class_tell_rows_apart():
    taught = [
        fake_record("dualkd", 0, teachers=[{"network": network}])
        for network in ("mini_m", "mini_l")
    ]
    (_, by_class) = grids(comparison(taught), per_class=True, with_published=False)
    assert by_class.columns == ["class", "dualkd <- mini_l", "dualkd <- mini_m"]
    others = [fake_record("dualkd", 0, student="mini_m"), fake_record("daformer", 0)]
    (table,) = comparison([*taught, *others])
    (_, by_class) = grids([table], per_class=True, with_published=False)
    assert sorted(by_class.columns) == [
        "class",
        "daformer",  # of the commonest student, and of no other
        "dualkd of mini-b0 <- mini_l",
        "dualkd of mini-b0 <- mini_m",
        "dualkd of mini_m",
    ]
