"""The main table at the widths of tests/data/tables, as a terminal and a pipe show it.

The grid is the published main table as it once was, so that no new record moves the golden files.
After a change that is meant, `python tests/harness/report/golden_tables.py` writes them anew.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from harness.report.columns import Grid
from harness.report.formats import print_grid

FOLDER = Path(__file__).parents[2] / "data/tables"
WIDTHS = (60, 80, 100, 120, 160)


def golden_grid() -> Grid:
    return Grid(**json.loads((FOLDER / "main.json").read_text(encoding="utf-8")))


def printed(grid: Grid, width: int, *, is_terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None
    )
    print_grid(grid, console, "--format markdown")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def golden_file(width: int) -> Path:
    return FOLDER / f"main-{width}.txt"


if __name__ == "__main__":
    for each in WIDTHS:
        golden_file(each).write_text(printed(golden_grid(), each), encoding="utf-8")
