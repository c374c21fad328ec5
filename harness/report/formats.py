"""Comparison tables as a terminal, Markdown, LaTeX, HTML, CSV or JSON shows them."""

from __future__ import annotations

import html
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from harness.analysis import published as literature
from harness.analysis.aggregate import OverScenarios, aggregates
from harness.analysis.comparison import Table, comparison
from harness.analysis.rows import Row, rows_by_seed
from harness.errors import BenchError
from harness.records.schema import Record
from harness.report.cells import PRECISION
from harness.report.columns import Grid, grids, plain_grid, scenarios, sorted_rows
from harness.report.fitting import column_widths, wrapped
from harness.report.latex import latex
from harness.text import csv_text, markdown_text, plain_values

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("rich", "markdown", "latex", "html", "csv", "json")
HTML_STYLE = """<style>
.uda-bench table { border-collapse: collapse; font: 14px/1.4 system-ui, sans-serif; }
.uda-bench th, .uda-bench td { padding: 2px 8px; border-bottom: 1px solid #8884; }
.uda-bench p { font: 12px/1.4 system-ui, sans-serif; margin: 4px 0; max-width: 80em; }
</style>"""


def print_rich(
    records: Iterable[Record],
    console: Console,
    per_class: bool = False,
    published: bool = False,
    title: str = "",
    aggregate: bool = False,
    columns: Sequence[str] = (),
    sort: str | None = None,
    precision: int | None = None,
) -> None:
    """Print the tables to a terminal; `title` stands before each heading."""
    tables = _tables(records, sort)
    decimals = PRECISION if precision is None else precision
    for grid in grids(tables, per_class, published, aggregate, columns, decimals):
        heading = f"{title}: {grid.heading}" if title else grid.heading
        print_grid(replace(grid, heading=heading), console, "bench table --format markdown")


def print_grid(grid: Grid, console: Console, whole: str) -> None:
    """Print one table to a terminal; `whole` is what shows the columns that do not fit."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = plain_grid(grid)
    console.print(Text(wrapped(grid.heading, console.width)), style="bold")
    for line in grid.shared:
        console.print(Text(wrapped(line, console.width)), style="dim")
    table = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    widths = column_widths(grid.columns, grid.rows, grid.alignment, console.width)
    for i, width in widths.items():
        heading = Text(wrapped(grid.columns[i], width))
        table.add_column(heading, justify=grid.alignment[i], overflow="fold", width=width)
    for row in grid.rows:
        table.add_row(*(Text(wrapped(row[i], width)) for i, width in widths.items()))
    if grid.rows:
        console.print(table)
    left_out = ", ".join(name for i, name in enumerate(grid.columns) if i not in widths)
    missing = [f"Left out for want of width: {left_out}; {whole} shows all."] if left_out else []
    for note in [*missing, *grid.notes]:
        style = "yellow" if _alarming(note) else "dim"
        console.print(Text(wrapped(note, console.width)), style=style)
    console.print()


def render(
    records: Iterable[Record],
    format: str,
    per_class: bool = False,
    published: bool = False,
    aggregate: bool = False,
    columns: Sequence[str] = (),
    sort: str | None = None,
    by_seed: bool = False,
    precision: int | None = None,
) -> str:
    """The tables as one text in a format of FORMATS; BenchError for another.

    `by_seed`: a line a run, where the format is csv. `precision`: decimals of scores, by default
    PRECISION; csv and json round nothing.
    """
    if format not in FORMATS:
        raise BenchError(f"format {format!r} found, one of {', '.join(FORMATS)} expected.")
    decimals = PRECISION if precision is None else precision
    if format == "rich":
        return _rich_text(records, per_class, published, aggregate, decimals)
    if columns and format in ("csv", "json"):
        raise BenchError(
            f"--columns: {format} holds every figure; expected rich, markdown, latex or html."
        )
    if precision is not None and format in ("csv", "json"):
        raise BenchError(
            f"--precision {precision}: {format} holds every figure unrounded; expected rich, "
            "markdown, latex or html."
        )
    tables = _tables(records, sort)
    if format == "csv":
        return _csv(tables, per_class, published, aggregate, by_seed)
    if format == "json":
        return _json(tables, per_class, published, aggregate)
    if format == "latex":
        return latex(tables, per_class, published, aggregate, columns, decimals)
    made = grids(tables, per_class, published, aggregate, columns, decimals)
    return _html_fragment(made) if format == "html" else "\n".join(map(markdown, made))


def _tables(records: Iterable[Record], sort: str | None) -> list[Table]:
    tables = comparison(records)
    return [sorted_rows(table, sort) for table in tables] if sort else tables


def _rich_text(
    records: Iterable[Record], per_class: bool, published: bool, aggregate: bool, precision: int
) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=160)
    print_rich(records, console, per_class, published, aggregate=aggregate, precision=precision)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def markdown(grid: Grid) -> str:
    """One table in Markdown."""
    harmless = Grid(
        markdown_text(grid.heading),
        [markdown_text(column) for column in grid.columns],
        [[markdown_text(cell) for cell in row] for row in grid.rows],
        [markdown_text(note) for note in grid.notes],
        shared=tuple(map(markdown_text, grid.shared)),
    )
    table = _tabulate(harmless, "pipe", grid.alignment)
    parts = [f"### {harmless.heading}", *harmless.shared, table, *harmless.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def _html(grid: Grid) -> str:
    shared, notes = (
        [f"<p>{html.escape(line)}</p>" for line in lines] for lines in (grid.shared, grid.notes)
    )
    parts = [f"<h3>{html.escape(grid.heading)}</h3>", *shared, _tabulate(grid, "html"), *notes]
    return "\n".join(part for part in parts if part) + "\n"


def _html_fragment(tables: Sequence[Grid]) -> str:
    """Tables to be put into a page, in UTF-8, with a style that reaches nothing else of it."""
    body = "\n".join(_html(grid) for grid in tables)
    return f'<meta charset="utf-8">\n{HTML_STYLE}\n<div class="uda-bench">\n{body}</div>\n'


def _tabulate(grid: Grid, style: str, alignment: Sequence[str] | None = None) -> str:
    from tabulate import tabulate

    if not grid.rows:
        return ""
    sides = alignment or grid.alignment
    return tabulate(grid.rows, grid.columns, style, disable_numparse=True, colalign=sides)


def _csv(
    tables: list[Table], per_class: bool, published: bool, aggregate: bool, by_seed: bool
) -> str:
    """One line a row or run of every table, with what names its table; figures unrounded."""
    if published:
        raise BenchError("csv holds measured figures only; expected json or markdown for both.")
    if aggregate:
        raise BenchError("csv holds rows of one scenario each; expected json or markdown for more.")
    import pandas as pd

    if by_seed:
        lines = [
            _conditions(t) | {"run_id": run.run_id, "seed": run.spec.seed} | _values(r, per_class)
            for t in tables
            for r, run in rows_by_seed(t.rows, t.runs)
        ]
    else:
        lines = [_conditions(t) | _values(r, per_class) for t in tables for r in t.rows]
    frame = pd.json_normalize(lines, sep="_").drop(columns="variant", errors="ignore")
    # A row without such a figure has an empty cell for each of its parts, not one of its own.
    frame = frame.drop(columns=[name for name in frame if f"{name}_mean" in frame])
    counts = [name for name in frame if name.endswith("_n")]
    frame[counts] = frame[counts].astype("Int64")  # 3, not 3.0, where a row has none
    frame = frame.map(_cell)
    frame.columns = frame.columns.map(csv_text)
    return frame.to_csv(index=False, lineterminator="\n")


def _json(tables: list[Table], per_class: bool, published: bool, aggregate: bool) -> str:
    measured = [
        {
            "heading": table.heading,
            **_conditions(table),
            "noise": asdict(table.noise.methods) if table.noise else None,
            "baseline_noise": asdict(table.noise.baseline) if table.noise else None,
            "rows": [_values(row, per_class) for row in table.rows],
            "failed": table.failed,
            "shared": table.shared,
            "notes": table.notes,
        }
        for table in tables
    ]
    content: dict[str, Any] = {"measured": measured}
    if aggregate:
        content["aggregated"] = [
            asdict(one) | {"rows": [_with_marks(row, "gain") for row in one.rows]}
            for one in aggregates(tables)
        ]
    if published:
        content["published"] = [
            figure.model_dump()
            for name in scenarios(tables)
            for figure in literature.published(name)
        ]
    return json.dumps(plain_values(finite(content)), indent=1, ensure_ascii=False) + "\n"


def _conditions(table: Table) -> dict[str, Any]:
    return {
        "scenario": table.scenario.name,
        "profile": table.profile,
        "convention": table.scenario.convention,
        "generated": bool(table.generated),
        "differs": "; ".join(f"{name} {value}" for name, value in table.differs.items()),
        "edition": table.edition,
    }


def _values(row: Row, per_class: bool) -> dict[str, Any]:
    values = {"label": row.label, **_with_marks(row, "gain", "gain_at_seconds")}
    if not per_class:
        del values["iou"]
    return values


def _with_marks(row: Row | OverScenarios, *gains: str) -> dict[str, Any]:
    """The row's fields, and of its gains which are significant."""
    values = asdict(row)
    for name in gains:
        if gain := getattr(row, name):
            values[name]["significant"] = gain.significant
    return values


def _cell(value: Any) -> Any:
    """A list in one cell, joined by spaces; a text that no spreadsheet computes."""
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return csv_text(text) if isinstance(text, str) else text


def finite(value: Any) -> Any:
    """NaN is no JSON: null in its place."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _alarming(note: str) -> bool:
    return note.startswith(("Warning", "failed"))
