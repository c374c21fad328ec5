"""Learning curves: each loss term and the speed over the steps of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.analysis.comparison import Table
from harness.errors import BenchError
from harness.files import parsed_json, read_text
from harness.report.plots.style import COLOURS, heading, new_figure, short
from harness.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from harness.records.schema import Record

SPEED = "images_per_second"
#: Terms that a method logs and that are no loss: shares, temperatures.
LOGGED = "log/"
#: How the names of scored checkpoints begin.
MIOU = "mIoU/"
#: No loss and no step is above it; a file may say anything.
LARGEST = 2.0**48

#: Values by term: (step, value), in the order of the steps.
Curves = dict[str, list[tuple[int, float]]]


class Learning(NamedTuple):
    """What is known of a training's course, and from where."""

    curves: Curves
    origin: str  # "log.jsonl", or what of the record stands for it


def learning(record: Record, results: Path | None) -> Learning:
    """The log of the run's training below `results`, else what the record itself says of it."""
    checkpoints = scored(record)
    if results is not None:
        log = results / "artifacts" / record.spec.weights_id / "log.jsonl"
        if log.is_file() and (curves := read_log(log)):
            return Learning(checkpoints | curves, "log.jsonl")
    golden = record.metrics.golden if record.metrics else None
    if golden and golden.losses:
        terms = _finite(golden.losses)
        origin = "the record's points: first steps, every tenth"
        return Learning(checkpoints | terms | _phases(record), origin)
    first = record.metrics.losses if record.metrics else {}
    terms = _finite({name: list(enumerate(values)) for name, values in first.items()})
    origin = "the record's first steps only: it is an older one" if first else ""
    return Learning(checkpoints | terms | (_phases(record) if first else {}), origin)


def _finite(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Curves:
    """Without values that are no numbers, and without terms that then have none."""
    kept = {
        plain(name): [(step, value) for step, value in points if math.isfinite(value)]
        for name, points in curves.items()
    }
    return {name: points for name, points in kept.items() if points}


def scored(record: Record) -> Curves:
    """mIoU of the networks at the steps where the run scored them; empty where it did not."""
    curve = record.metrics.curve if record.metrics else None
    curves: Curves = {}
    for point in curve.points if curve else ():
        for name, network in (("student", point.student), ("EMA teacher", point.ema_teacher)):
            if network and math.isfinite(network.miou):
                curves.setdefault(MIOU + name, []).append((point.step, network.miou))
    return curves


def _phases(record: Record) -> Curves:
    """Speed at the middle of each part of the schedule."""
    phases = record.cost.training.phases if record.cost else []
    points = [(p.first_step + p.steps // 2, p.images_per_second) for p in phases]
    return _finite({SPEED: points})


def read_log(path: Path) -> Curves:
    """The numbers of a log by name; what is no line of a log is left out."""
    curves: Curves = {}
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError):
        return {}
    for line in lines:
        try:
            entry = parsed_json(line)
        except ValueError:
            continue
        step = entry.get("step") if isinstance(entry, dict) else None
        if not isinstance(step, int) or not _is_number(step):
            continue
        for name, value in entry.items():
            if name != "step" and _is_number(value):
                curves.setdefault(plain(name), []).append((step, float(value)))
    return curves


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and abs(value) < LARGEST  # False for NaN and infinity


def draw(table: Table, name: str, results: Path | None, width: float) -> Figure:
    """The row's losses and training speed, a line a seed. BenchError where nothing is known."""
    return draw_runs(table.runs[name], results, width, f"{name}: {table.heading}")


def draw_runs(runs: Sequence[Record], results: Path | None, width: float, title: str) -> Figure:
    """The same of any runs of one method."""
    known = [one for one in (learning(run, results) for run in runs) if one.curves]
    if not known:
        raise BenchError(
            f"{short(title, 80)}: neither a log nor losses in the records; expected "
            "artifacts/WEIGHTS_ID/log.jsonl below --results, or records that hold losses."
        )
    each = [one.curves for one in known]
    terms = list(dict.fromkeys(chain(*each)))
    losses = [t for t in terms if t != SPEED and not t.startswith((LOGGED, MIOU))]
    panels = [
        ([t for t in terms if t.startswith(MIOU)], "mIoU %"),
        (losses, "loss term"),
        ([t for t in terms if t.startswith(LOGGED)], "logged"),
        ([SPEED], "source images/s"),
    ]
    shown = [(names, label) for names, label in panels if any(n in terms for n in names)]
    figure = new_figure(width, 0.5 + 1.25 * len(shown))
    column = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (names, label) in zip(column, shown, strict=True):
        _panel(axes, each, names, label)
    origins = "; ".join(dict.fromkeys(one.origin for one in known))
    column[-1].set_xlabel(f"step ({origins})")
    heading(figure, title)
    return figure


def _panel(
    axes: Axes, each: Sequence[Mapping[str, list[tuple[int, float]]]], names: list[str], label: str
) -> None:
    values = []
    for index, name in enumerate(names):
        colour = COLOURS[index % len(COLOURS)]
        first = True
        for curves in each:
            if points := curves.get(name):
                values += [value for _, value in points]
                shown = short(name.removeprefix(LOGGED).removeprefix(MIOU), 24)
                axes.plot(
                    *zip(*points, strict=True), color=colour, lw=0.9, alpha=0.8,
                    marker="." if len(points) < 12 else None, ms=3,
                    ls=("-", "--", "-.", ":")[index // len(COLOURS) % 4],
                    label=shown if first else None,
                )  # fmt: skip
                first = False
    if label == "loss term" and min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
    axes.set_ylabel(label)
    axes.grid(color="#eeeeee", lw=0.5)
    if names != [SPEED]:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
