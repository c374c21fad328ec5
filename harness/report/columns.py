"""Comparison tables as rows of text: which columns a table needs, and how a figure is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from harness.analysis.aggregate import Aggregate, OverScenarios, aggregates
from harness.analysis.comparison import NOT_COMPARABLE, Table
from harness.analysis.notes import aggregate_notes
from harness.analysis.published import Figure, published
from harness.analysis.rows import Row, row_names
from harness.analysis.statistics import Difference, Summary
from harness.errors import BenchError, unknown
from harness.evaluation.registry import METRICS
from harness.report.cells import (
    NONE,
    PRECISION,
    difference_text,
    gain_at_seconds_text,
    number,
    spread,
)
from harness.text import plain

TEXT_COLUMNS = {
    *("method", "student", "teacher", "class", "network", "role", "convention"),
    *("name", "knob", "default", "field", "value", "what it is", "validator"),
}
MEMORY = {
    "gpu allocated": "GPU",
    "cpu rss": "CPU",
    "cpu pss above baseline": "CPU",
    "cpu uss above baseline": "CPU",
    "cpu rss above baseline": "CPU",
}
MEMORY_NOTES = {
    "gpu allocated": "GPU: memory that torch allocated",
    "cpu rss": "CPU: resident memory of process and workers, imports included",
    "cpu pss above baseline": "CPU: process and workers, above what imports take",
    "cpu uss above baseline": "CPU: process and workers, shared pages not counted, above what "
    "imports take",
    "cpu rss above baseline": "CPU: resident memory of process and workers, above what imports "
    "take",
}
#: A scenario scored over SYNTHIA's 16 classes shows the other convention's figure too.
OTHER_CONVENTION = {"rescaled19": "ignored16", "ignored16": "rescaled19"}


def _mean(value: Summary | Difference | None) -> float | None:
    return None if value is None else value.mean


def _metric(name: str) -> Callable[[Row], float | None]:
    return lambda row: _mean(row.figures.get(name))


#: Figures that need no labels, by their column: its heading, and whether the largest is the best.
LABEL_FREE = {
    "entropy": ("entropy, nats", False),
    "infomax": ("infomax, nats", True),
    "snd": ("snd, nats", True),
    "agreement": ("agreement with EMA teacher %", True),
}


def _convention(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.conventions.get(name)


def _free(name: str) -> Callable[[Row], float | None]:
    return lambda row: _mean(row.label_free.get(name))


#: The comparison table's columns by what --columns and --sort call them: the figure that a row is
#: sorted by, None for text, and whether the largest is the best.
COLUMNS: dict[str, tuple[Callable[[Row], float | None] | None, bool]] = {
    "method": (None, False),
    "student": (None, False),
    "teacher": (None, False),
    "miou": (lambda r: r.miou.mean, True),
    "gain": (lambda r: _mean(r.gain), True),
    "gain_seconds": (lambda r: _mean(r.gain_at_seconds), True),
    "seconds": (lambda r: r.train_seconds, False),
    "train_speed": (lambda r: r.train_images_per_second, True),
    "memory": (lambda r: r.memory_mib, False),
    "other_miou": (None, True),
    "ema": (lambda r: _mean(r.ema_miou), True),
    "second": (lambda r: _mean(r.second_miou), True),
    "second_ema": (lambda r: _mean(r.second_ema_miou), True),
    "infer_speed": (lambda r: r.inference_images_per_second, True),
    "params": (lambda r: r.parameters_m, False),
    "training_params": (lambda r: r.training_parameters_m, False),
    "teacher_miou": (lambda r: _mean(r.teacher_miou), True),
    "teacher_seconds": (lambda r: r.teacher_seconds, False),
    **{name: (_metric(name), metric.higher_is_better) for name, metric in METRICS.items()},
    **{name: (_free(name), largest_first) for name, (_, largest_first) in LABEL_FREE.items()},
}


def column_keys(text: str, option: str) -> list[str]:
    """The keys in a list separated by commas. BenchError for one that is none."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    for key in keys:
        if key not in COLUMNS:
            error = unknown(f"column in {option}", key, COLUMNS)
            raise BenchError(f"{error} All are: {', '.join(COLUMNS)}.")
    return keys


def sorted_rows(table: Table, key: str) -> Table:
    """The table with its best row of that column first; rows without such a figure last."""
    figure, largest_first = COLUMNS[key]
    if key == "other_miou":
        figure = _convention(OTHER_CONVENTION.get(table.scenario.convention, ""))
    if figure is None:
        raise BenchError(f"--sort {key}: it holds text; expected a column of figures.")

    def order(row: Row) -> tuple[bool, float]:
        value = figure(row)
        if value is None or not math.isfinite(value):
            return True, 0.0
        return False, -value if largest_first else value

    return replace(table, rows=sorted(table.rows, key=order))


@dataclass(frozen=True)
class Grid:
    """A table ready to be printed, all of it text."""

    heading: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    text_columns: frozenset[str] = frozenset()  # beside those that are text in every table
    shared: tuple[str, ...] = ()  # what all rows have in common, said above them

    @property
    def alignment(self) -> list[Literal["left", "right"]]:
        texts = TEXT_COLUMNS | self.text_columns
        return ["left" if column in texts else "right" for column in self.columns]


def grids(
    tables: Sequence[Table],
    per_class: bool,
    with_published: bool,
    aggregated: bool = False,
    wanted: Sequence[str] = (),
    precision: int = PRECISION,
) -> list[Grid]:
    """A grid a table, one more for its classes, one over scenarios, and the literature's last.

    `wanted` are keys of COLUMNS, of which the first kind of grid has those alone; `precision` are
    decimals of scores, of the literature's as their sources print them.
    """
    made = []
    for table in tables:
        made.append(main_grid(table, wanted, precision))
        if per_class and table.rows:
            made.append(_class_grid(table, precision))
    if aggregated:
        made += [aggregate_grid(aggregate, precision) for aggregate in aggregates(tables)]
    if with_published:
        made += [published_grid(name, published(name)) for name in scenarios(tables)]
    return [plain_grid(grid) for grid in made]


def plain_grid(grid: Grid) -> Grid:
    """Without what would leave a line or turn it around: records may be untrusted."""
    return Grid(
        plain(grid.heading),
        [plain(column) for column in grid.columns],
        [[plain(cell) for cell in row] for row in grid.rows],
        [plain(note) for note in grid.notes],
        frozenset(map(plain, grid.text_columns)),
        tuple(map(plain, grid.shared)),
    )


def main_grid(table: Table, wanted: Sequence[str] = (), precision: int = PRECISION) -> Grid:
    """The columns wanted, in that order; else those that this table needs: none holds nothing."""
    rows, convention = table.rows, table.scenario.convention
    kinds = memory_kinds(rows)
    other = OTHER_CONVENTION.get(convention, "another convention")
    splits = sorted({row.second_split for row in rows if row.second_split})
    second = " or ".join(splits) or "a second split"
    timed, taught = any(row.gain_at_seconds for row in rows), any(row.teachers for row in rows)
    score = f".{precision}f"
    columns: list[tuple[str, str, Callable[[Row], str], bool]] = [
        ("method", "method", lambda r: r.label, True),
        ("student", "student", lambda r: r.student, len({r.student for r in rows}) > 1),
        ("teacher", "teacher", lambda r: " + ".join(r.teachers) or NONE, taught),
        (
            "miou",
            f"mIoU % ({convention}, {table.profile_name})",
            lambda r: spread(r.miou, score),
            True,
        ),
        (
            "gain",
            "gain at equal steps" if timed else "gain",
            lambda r: difference_text(r.gain, precision=precision),
            any(r.gain for r in rows),
        ),
        (
            "gain_seconds",
            "gain at equal seconds",
            lambda r: gain_at_seconds_text(r, precision),
            timed,
        ),
        ("seconds", "training s", lambda r: number(r.train_seconds, ".0f"), timed),
        ("train_speed", "train img/s", lambda r: number(r.train_images_per_second), True),
        ("memory", memory_title(kinds), lambda r: memory_text(r, kinds), True),
        (
            "other_miou",
            f"mIoU % ({other})",
            lambda r: number(r.conventions.get(other), score),
            any(other in r.conventions for r in rows),
        ),
        (
            "ema",
            "EMA teacher mIoU %",
            lambda r: spread(r.ema_miou, score),
            any(r.ema_miou for r in rows),
        ),
        (
            "second",
            f"mIoU % on {second}",
            lambda r: spread(r.second_miou, score),
            any(r.second_miou for r in rows),
        ),
        (
            "second_ema",
            f"EMA teacher mIoU % on {second}",
            lambda r: spread(r.second_ema_miou, score),
            any(r.second_ema_miou for r in rows),
        ),
        ("infer_speed", "infer img/s", lambda r: number(r.inference_images_per_second), True),
        ("params", "params M", lambda r: number(r.parameters_m, ".2f"), True),
        (
            "training_params",
            "training params M",
            lambda r: number(r.training_parameters_m, ".2f"),
            any(r.training_parameters_m for r in rows),
        ),
        (
            "teacher_miou",
            "teacher mIoU %",
            lambda r: spread(r.teacher_miou, score),
            any(r.teacher_miou for r in rows),
        ),
        ("teacher_seconds", "teacher training s", _teacher_seconds, taught),
        *(
            (
                name,
                f"{metric.title} {metric.unit}".strip(),
                partial(_metric_text, name, score),
                metric.on_request and any(name in r.figures for r in rows),
            )
            for name, metric in METRICS.items()
        ),
        *(
            (name, title, partial(_label_free_text, name, score), False)
            for name, (title, _) in LABEL_FREE.items()
        ),
    ]
    by_key = {key: (name, cell) for key, name, cell, needed in columns if needed or key in wanted}
    shown = [by_key[key] for key in wanted] if wanted else list(by_key.values())
    return Grid(
        heading=table.heading,
        columns=[name for name, _ in shown],
        rows=[[cell(row) for _, cell in shown] for row in rows],
        notes=[*table.notes, *memory_notes(rows), *table.failed],
        shared=tuple(table.shared),
    )


def memory_kinds(rows: Iterable[Row]) -> set[str]:
    """What kinds of memory a table's rows measured."""
    return {row.memory_kind for row in rows if row.memory_kind}


def memory_title(kinds: set[str]) -> str:
    """Of the memory column: of which device, where all rows measured one kind."""
    return f"peak MiB ({MEMORY[min(kinds)]})" if len(kinds) == 1 else "peak MiB"


def memory_notes(rows: Iterable[Row]) -> list[str]:
    """What the memory column holds, and that its rows are not all comparable where they are not."""
    listed = sorted(memory_kinds(rows))
    if len(listed) < 2:
        return [f"peak MiB, {MEMORY_NOTES[memory_kind]}." for memory_kind in listed]
    named = "; ".join(f'"{_memory_name(name, listed)}" {MEMORY_NOTES[name]}' for name in listed)
    return [f"Warning: peak MiB is of several kinds, not comparable between rows: {named}."]


def _memory_name(memory_kind: str, memory_kinds: Iterable[str]) -> str:
    """GPU or CPU; the kind itself where several of a table's kinds are a CPU's."""
    alike = [other for other in memory_kinds if MEMORY[other] == MEMORY[memory_kind]]
    return MEMORY[memory_kind] if len(alike) == 1 else memory_kind


def _class_grid(table: Table, precision: int) -> Grid:
    """IoU by class, a line a class: 19 columns fit on no page."""
    names = dict.fromkeys(name for row in table.rows for name in row.iou)
    return Grid(
        heading=f"IoU % by class, mean over seeds: {table.heading}",
        columns=["class", *row_names(table.rows)],
        rows=[[n, *(number(r.iou.get(n), f".{precision}f") for r in table.rows)] for n in names],
        notes=[],
    )


def aggregate_grid(aggregate: Aggregate, precision: int = PRECISION) -> Grid:
    rows, left = aggregate.rows, aggregate.noise
    score = f".{precision}f"
    warning = f" ({aggregate.generated}: {NOT_COMPARABLE})" if aggregate.generated else ""
    columns: list[tuple[str, Callable[[OverScenarios], str], bool]] = [
        ("method", lambda r: r.label, True),
        ("student", lambda r: r.student, len({r.student for r in rows}) > 1),
        ("teacher", lambda r: " + ".join(r.teachers) or NONE, any(r.teachers for r in rows)),
        ("IQM mIoU %", lambda r: f"{number(r.interquartile_mean, score)} ({r.runs})", True),
        (
            "gain",
            lambda r: difference_text(r.gain, precision),
            any(r.gain for r in rows),
        ),
        ("P(better)", lambda r: number(r.improvement, ".2f"), any(r.gain for r in rows)),
    ]
    shown = [(name, cell) for name, cell, needed in columns if needed]
    return Grid(
        heading=f"Over {' and '.join(aggregate.scenarios)}, "
        f"{', '.join([f'profile {aggregate.profile}', *aggregate.differs])}{warning}",
        columns=[name for name, _ in shown],
        rows=[[cell(row) for _, cell in shown] for row in rows],
        notes=[
            "IQM: interquartile mean of the runs of all scenarios (their number). P(better): "
            "probability that a run is above one of source_only, mean over scenarios (rliable).",
            *aggregate_notes([row.gain for row in rows if row.gain], left),
            *(
                [
                    "Not run with equal settings on every scenario, or without a figure, left out: "
                    f"{', '.join(aggregate.left_out)}."
                ]
                if aggregate.left_out
                else []
            ),
        ],
    )


def published_grid(scenario: str, figures: Sequence[Figure]) -> Grid:
    sources = list(dict.fromkeys(figure.source for figure in figures))
    return Grid(
        heading=f"Published figures for {scenario}, as their sources print them: real data, the "
        "authors' networks and protocols; not measured here",
        columns=["method", "network", "mIoU %", "classes", "role", "source"],
        rows=[
            [
                figure.method,
                figure.network,
                number(figure.miou, ".1f") + (f" ± {figure.sd}" if figure.sd else ""),
                str(figure.classes or NONE),
                figure.role,
                f"[{sources.index(figure.source) + 1}]",
            ]
            for figure in figures
        ],
        notes=[f"[{number}] {source}" for number, source in enumerate(sources, 1)]
        or [f"No published figure for {scenario} found."],
    )


def scenarios(tables: Iterable[Table]) -> list[str]:
    return list(dict.fromkeys(table.scenario.name for table in tables))


def _metric_text(name: str, score: str, row: Row) -> str:
    return spread(row.figures.get(name), score)


def _label_free_text(name: str, score: str, row: Row) -> str:
    return spread(row.label_free.get(name), score if name == "agreement" else ".3f")


def memory_text(row: Row, kinds: set[str]) -> str:
    memory_kind = row.memory_kind
    name = f" {_memory_name(memory_kind, kinds)}" if memory_kind and len(kinds) > 1 else ""
    return number(row.memory_mib, ".0f") + name


def _teacher_seconds(row: Row) -> str:
    if not row.teachers or row.teacher_seconds == 0:  # large networks that learn beside a student
        return NONE
    return number(row.teacher_seconds, ".0f").replace(NONE, "?")
