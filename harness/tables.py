"""Comparison tables as a terminal, Markdown, LaTeX, HTML, CSV or JSON shows them."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.comparison import ENOUGH_SEEDS, Row, Table, comparison
from harness.errors import BenchError
from harness.published import Figure, published
from harness.records import Record
from harness.stats import Difference, Summary

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("rich", "markdown", "latex", "html", "csv", "json")
NONE = "–"
MEMORY = {"gpu allocated": "GPU", "cpu rss": "CPU"}
#: A scenario scored over SYNTHIA's 16 classes shows the other convention's figure too.
OTHER_CONVENTION = {"rescaled19": "ignored16", "ignored16": "rescaled19"}


@dataclass(frozen=True)
class Grid:
    """A table ready to be printed: the first column is text, the others are figures."""

    heading: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def print_rich(
    records: Iterable[Record],
    console: Console,
    per_class: bool = False,
    with_published: bool = False,
) -> None:
    """Print the tables to a terminal."""
    from rich.table import Table as RichTable
    from rich.text import Text

    for grid in _grids(comparison(records), per_class, with_published):
        table = RichTable(title=Text(grid.heading), title_justify="left", title_style="bold")
        for number, column in enumerate(grid.columns):
            table.add_column(Text(column), justify="right" if number else "left")
        for row in grid.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
        for note in grid.notes:
            console.print(Text(note), style="yellow" if _alarming(note) else "dim")
        console.print()


def render(
    records: Iterable[Record],
    format: str,
    per_class: bool = False,
    with_published: bool = False,
) -> str:
    """The tables as one text in a format of FORMATS; BenchError for another."""
    renderers: dict[str, Callable[[list[Table], bool, bool], str]] = {
        "rich": lambda *_: _rich_text(records, per_class, with_published),
        "markdown": _text("pipe", "### {}", "{}"),
        "latex": _text("latex_booktabs", "% {}", "% {}"),
        "html": _text("html", "<h3>{}</h3>", "<p>{}</p>", html.escape),
        "csv": _csv,
        "json": _json,
    }
    if format not in renderers:
        raise BenchError(f"format {format!r} found, one of {', '.join(FORMATS)} expected.")
    records = list(records)
    return renderers[format](comparison(records), per_class, with_published)


def _rich_text(records: Iterable[Record], per_class: bool, with_published: bool) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=160)
    print_rich(records, console, per_class, with_published)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _text(
    style: str, heading: str, note: str, escape: Callable[[str], str] = str
) -> Callable[[list[Table], bool, bool], str]:
    from tabulate import tabulate

    def write(tables: list[Table], per_class: bool, with_published: bool) -> str:
        blocks = []
        for grid in _grids(tables, per_class, with_published):
            align = ["left", *["right"] * (len(grid.columns) - 1)]
            body = tabulate(grid.rows, grid.columns, style, disable_numparse=True, colalign=align)
            notes = "\n\n".join(note.format(escape(line)) for line in grid.notes)
            blocks.append("\n\n".join([heading.format(escape(grid.heading)), body, notes]).strip())
        return "\n\n".join(blocks) + "\n"

    return write


def _csv(tables: list[Table], per_class: bool, with_published: bool) -> str:
    """One line a row of every table, with what names its table; figures unrounded."""
    if with_published:
        raise BenchError("csv holds measured figures only; expected json or markdown for both.")
    lines = [_flat({**_conditions(t), **_values(r, per_class)}) for t in tables for r in t.rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _json(tables: list[Table], per_class: bool, with_published: bool) -> str:
    measured = [
        {
            "heading": table.heading,
            **_conditions(table),
            "rows": [_values(row, per_class) for row in table.rows],
            "failed": table.failed,
            "notes": table.notes,
        }
        for table in tables
    ]
    content: dict[str, Any] = {"measured": measured}
    if with_published:
        content["published"] = [
            figure.model_dump() for name in _scenarios(tables) for figure in published(name)
        ]
    return json.dumps(_finite(content), indent=1, ensure_ascii=False) + "\n"


def _conditions(table: Table) -> dict[str, Any]:
    return {
        "scenario": table.scenario.name,
        "profile": table.profile,
        "convention": table.scenario.convention,
        "generated": table.generated,
        "differs": "; ".join(f"{name} {value}" for name, value in table.differs.items()),
    }


def _values(row: Row, per_class: bool) -> dict[str, Any]:
    values = {"label": row.label, **asdict(row)}
    if row.gain:
        values["gain"]["significant"] = row.gain.significant
    if not per_class:
        del values["iou"]
    return values


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields as `outer_inner`, lists joined by spaces."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name == "variant":  # the label says it
            continue
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        elif isinstance(value, (list, tuple)):
            flat[prefix + name] = " ".join(map(str, value))
        else:
            flat[prefix + name] = value
    return flat


def _finite(value: Any) -> Any:
    """NaN is no JSON: null in its place."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _grids(tables: Sequence[Table], per_class: bool, with_published: bool) -> list[Grid]:
    grids = []
    for table in tables:
        grids.append(_main_grid(table))
        if per_class and table.rows:
            grids.append(_class_grid(table))
    if with_published:
        grids += [_published_grid(name, published(name)) for name in _scenarios(tables)]
    return grids


def _main_grid(table: Table) -> Grid:
    """The columns that this table needs: those that would hold nothing are left out."""
    rows, convention = table.rows, table.scenario.convention
    kinds = {row.memory_kind for row in rows if row.memory_kind}
    other = OTHER_CONVENTION.get(convention, "")
    mixed = len(kinds) > 1
    kind = "" if mixed else "".join(f" ({MEMORY[k]})" for k in kinds)
    columns: list[tuple[str, Callable[[Row], str], bool]] = [
        ("method", lambda r: r.label, True),
        ("student", lambda r: r.student, len({r.student for r in rows}) > 1),
        ("teacher", lambda r: " + ".join(r.teachers) or NONE, any(r.teachers for r in rows)),
        (f"mIoU % ({convention}, {table.profile})", lambda r: _spread(r.miou), True),
        ("vs source_only", lambda r: _gain(r.gain), any(r.gain for r in rows)),
        (
            f"mIoU % ({other})",
            lambda r: _number(r.conventions.get(other), ".1f"),
            any(other in r.conventions for r in rows),
        ),
        ("EMA teacher mIoU %", lambda r: _spread(r.ema_miou), any(r.ema_miou for r in rows)),
        ("train img/s", lambda r: _number(r.train_images_per_second), True),
        (f"peak MiB{kind}", lambda r: _memory(r, mixed), True),
        ("inference img/s", lambda r: _number(r.inference_images_per_second), True),
        ("params M", lambda r: _number(r.parameters_m, ".2f"), True),
        ("teacher training s", _teacher_seconds, any(r.teachers for r in rows)),
    ]
    shown = [(name, cell) for name, cell, needed in columns if needed]
    return Grid(
        heading=table.heading,
        columns=[name for name, _ in shown],
        rows=[[cell(row) for _, cell in shown] for row in rows],
        notes=[*table.notes, *table.failed],
    )


def _class_grid(table: Table) -> Grid:
    """IoU by class, a line a class: 19 columns fit on no page."""
    names = dict.fromkeys(name for row in table.rows for name in row.iou)
    students = len({row.student for row in table.rows}) > 1
    labels = [f"{r.label}, {r.student}" if students else r.label for r in table.rows]
    return Grid(
        heading=f"IoU % by class, mean over seeds: {table.heading}",
        columns=["class", *labels],
        rows=[[n, *(_number(row.iou.get(n), ".1f") for row in table.rows)] for n in names],
        notes=[],
    )


def _published_grid(scenario: str, figures: Sequence[Figure]) -> Grid:
    sources = list(dict.fromkeys(figure.source for figure in figures))
    return Grid(
        heading=f"Published figures for {scenario}, as their sources print them: real data, the "
        "authors' networks and protocols; not measured here",
        columns=["method", "network", "mIoU %", "classes", "role", "source"],
        rows=[
            [
                figure.method,
                figure.network,
                _number(figure.miou, ".1f") + (f" ± {figure.sd}" if figure.sd else ""),
                str(figure.classes or NONE),
                figure.role,
                f"[{sources.index(figure.source) + 1}]",
            ]
            for figure in figures
        ],
        notes=[f"[{number}] {source}" for number, source in enumerate(sources, 1)]
        or [f"No published figure for {scenario} at hand."],
    )


def _scenarios(tables: Iterable[Table]) -> list[str]:
    return list(dict.fromkeys(table.scenario.name for table in tables))


def _alarming(note: str) -> bool:
    return note.startswith(("Warning", "failed"))


def _number(value: float | None, style: str = ".3g") -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.0f}" if style == ".3g" and abs(value) >= 100 else format(value, style)


def _spread(value: Summary | None) -> str:
    """mean ± sd (n); no sd from one seed."""
    if value is None:
        return NONE
    sd = f" ± {value.sd:.1f}" if value.n > 1 else ""
    return f"{_number(value.mean, '.1f')}{sd} ({value.n})"


def _gain(value: Difference | None) -> str:
    """Signed points; `~` only where there are seeds enough to test."""
    if value is None:
        return NONE
    unsure = value.n >= ENOUGH_SEEDS and not value.significant
    return f"{value.mean:+.1f}{' ~' if unsure else ''}"


def _memory(row: Row, mixed: bool) -> str:
    kind = f" {MEMORY[row.memory_kind]}" if mixed and row.memory_kind else ""
    return _number(row.memory_mib, ".0f") + kind


def _teacher_seconds(row: Row) -> str:
    return NONE if not row.teachers else _number(row.teacher_seconds, ".0f").replace(NONE, "?")
