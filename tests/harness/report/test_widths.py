"""The published main table at several widths: columns are left out whole, no figure is cut."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.analysis.comparison import comparison
from harness.records import store
from harness.report.columns import Grid, grids
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
    print_grid(grid, console)
    return console.file.getvalue()


def columns_shown(grid: Grid, text: str) -> int:
    """How many, by the note under the table, wherever its lines break."""
    note = LEFT_OUT.search("".join(text.split()))
    left_out = ["".join(", ".join(grid.columns[n:]).split()) for n in range(1, len(grid.columns))]
    return left_out.index(note[1]) + 1 if note else len(grid.columns)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
def test_every_figure_of_the_columns_shown_is_printed_in_full(published, width, is_terminal):
    for grid in published:
        text = printed(grid, width, is_terminal)
        assert max(map(len, text.splitlines())) <= width
        shown = columns_shown(grid, text)
        lines = iter(text.splitlines())
        for row in grid.rows:
            cells = [row[i] for i in range(shown) if grid.alignment[i] == "right"]
            figures = " ".join(cells).split()
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


def test_a_terminal_of_few_columns_shows_one_whole():
    grid = Grid("heading", ["method", "peak MiB"], [["a_long_name", "123456"]], [])
    text = printed(grid, 12, is_terminal=False)
    assert "123" not in text
    assert "Left out" in text
