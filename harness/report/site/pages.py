"""What the report's pages show, as plain values for their templates. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from harness.analysis.comparison import Table
from harness.analysis.rows import Row
from harness.records.schema import Record
from harness.report.cells import difference_text, gain_at_seconds_text, number, spread
from harness.report.columns import memory_kinds, memory_text, memory_title


class Cell(NamedTuple):
    """What a cell shows, and what it is sorted by: a number or None, or a text."""

    text: str
    value: float | str | None
    heat: int | None = None  # 0 to 10: how much of its colour


class Column(NamedTuple):
    """A column of a sortable table."""

    title: str
    is_text: bool
    shown: bool  # else hidden until it is asked for


class Line(NamedTuple):
    """A line of a sortable table: its cells, and the runs that it is of."""

    cells: list[Cell]
    runs: list[tuple[int, str]]  # seed and the name of its page, the run_id


class Sheet(NamedTuple):
    """A sortable table."""

    columns: list[Column]
    lines: list[Line]


def comparison_sheet(table: Table) -> Sheet:
    """A line a method: those columns first that a reader looks for, others at hand."""
    rows = table.rows
    convention, kinds = table.scenario.convention, memory_kinds(rows)
    timed = any(row.gain_at_seconds for row in rows)
    columns: list[tuple[str, Callable[[Row], Cell], bool]] = [
        (f"mIoU % ({convention})", lambda r: _number(r.miou.mean, spread(r.miou)), True),
        ("gain at equal steps" if timed else "gain", _gain, True),
        ("gain at equal seconds", _gain_at_seconds, True),
        ("training s", lambda r: _number(r.train_seconds, number(r.train_seconds, ".0f")), True),
        ("train img/s", lambda r: _number(r.train_images_per_second), True),
        (memory_title(kinds), lambda r: _number(r.memory_mib, memory_text(r, kinds)), True),
        ("infer img/s", lambda r: _number(r.inference_images_per_second), False),
        ("params M", lambda r: _number(r.parameters_m, number(r.parameters_m, ".2f")), False),
        ("training params M", lambda r: _number(r.training_parameters_m), False),
        ("EMA teacher mIoU %", lambda r: _summary(r.ema_miou), False),
        ("frozen teacher mIoU %", lambda r: _summary(r.teacher_miou), False),
        ("frozen teacher s", lambda r: _number(r.teacher_seconds or None), False),
    ]
    for other in sorted(set().union(*(row.conventions for row in rows)) - {convention}):
        columns.append((f"mIoU % ({other})", _in_convention(other), False))
    named: list[tuple[str, Callable[[Row], Cell], bool]] = [
        ("student", lambda r: Cell(r.student, r.student), False),
        ("teacher", lambda r: Cell(" + ".join(r.teachers) or "-", " + ".join(r.teachers)), False),
    ]
    kept = [c for c in (*named, *columns) if any(c[1](row).text not in ("-", "") for row in rows)]
    lines = [
        Line([Cell(name, name), *(cell(row) for _, cell, _ in kept)], _runs(table.runs[name]))
        for name, row in zip(table.runs, rows, strict=True)
    ]
    texts = {"student", "teacher"}
    return Sheet(
        [Column("method", True, True), *(Column(t, t in texts, shown) for t, _, shown in kept)],
        lines,
    )


def class_sheet(table: Table) -> Sheet:
    """IoU by class, a line a method."""
    names = list(dict.fromkeys(name for row in table.rows for name in row.iou))
    lines = [
        Line([Cell(name, name), *(percent(row.iou.get(n)) for n in names)], _runs(table.runs[name]))
        for name, row in zip(table.runs, table.rows, strict=True)
    ]
    return Sheet([Column("method", True, True), *(Column(n, False, True) for n in names)], lines)


def _runs(records: Sequence[Record]) -> list[tuple[int, str]]:
    return [(record.spec.seed, record.run_id) for record in records]


def percent(value: float | None) -> Cell:
    """A percentage to one decimal, with its heat."""
    if value is None or not math.isfinite(value):
        return Cell("-", None)
    return Cell(f"{value:.1f}", value, round(min(max(value, 0), 100) / 10))


def _number(value: float | None, text: str | None = None) -> Cell:
    known = value is not None and math.isfinite(value)
    return Cell(number(value) if text is None else text, value if known else None)


def _summary(value: Any) -> Cell:
    return _number(value.mean if value else None, number(value.mean if value else None, ".1f"))


def _gain(row: Row) -> Cell:
    return _number(row.gain.mean if row.gain else None, difference_text(row.gain))


def _gain_at_seconds(row: Row) -> Cell:
    gain = row.gain_at_seconds
    return _number(gain.mean if gain else None, gain_at_seconds_text(row))


def _in_convention(name: str) -> Callable[[Row], Cell]:
    return lambda row: _number(
        row.conventions.get(name), number(row.conventions.get(name), ".1f")
    )  # fmt: skip


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A JSON value as lines of a name with dots and a text; lists of plain values on one line."""
    if isinstance(value, dict):
        inner = [line for key, item in value.items() for line in flat(item, f"{name}.{key}")]
        return inner or [(name.lstrip("."), "-")]
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return [line for i, item in enumerate(value) for line in flat(item, f"{name}.{i}")]
    if isinstance(value, list):
        value = ", ".join(map(str, value)) or "-"
    return [(name.lstrip("."), "-" if value is None else str(value))]
