"""Measurements of speed as tables of text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.cells import NONE
from harness.report.columns import MEMORY, MEMORY_NOTES, Grid
from harness.runs.speed.cases import SpeedCase
from harness.runs.speed.comparison import Change
from harness.runs.speed.phases import ORDER
from harness.runs.speed.results import Result, SpeedReport, Spread


def grids(report: SpeedReport) -> list[Grid]:
    """What a step costs beside inference and evaluation, then its parts."""
    results = [result for result in report.results if not result.error]
    return [_costs(report, results), _parts(report, results)] if results else []


def failures(report: SpeedReport) -> list[str]:
    """A line for each case that could not be measured."""
    return [f"{r.case.name}: {r.code}: {r.error}" for r in report.results if r.error]


def _costs(report: SpeedReport, results: Sequence[Result]) -> Grid:
    columns, rows = _named(report)
    columns += ["step ms", "quartiles", "img/s", "MiB", "GFLOP", "% matrix", "% conv"]
    columns += ["infer img/s", "latency ms", "eval img/s"]
    notes = []
    for result, row in zip(results, rows, strict=True):
        steps, memory = result.steps, result.memory
        assert steps
        row += [
            _number(steps.step_ms.median),
            f"{_number(steps.step_ms.q1)}-{_number(steps.step_ms.q3)}",
            _number(steps.images_per_second),
            _number(memory.mib if memory else None),
            _number(result.gflops),
            _number(report.share(result, "matrix")),
            _number(report.share(result, "convolution")),
            _number(result.inference.images_per_second if result.inference else None),
            _number(result.inference.latency_ms if result.inference else None),
            _number(result.evaluation.images_per_second.median if result.evaluation else None),
        ]
        if memory and MEMORY[memory.kind]:
            notes.append(MEMORY_NOTES[memory.kind])
        notes += [f"{result.case.name}: {wish}" for wish in result.unmet]
        if not steps.stable:
            notes.append(
                f"{result.case.name}: not stable after {steps.warm_up_rounds} rounds of warm-up"
            )
    rounds = max(result.steps.step_ms.rounds for result in results if result.steps)
    notes.insert(
        0,
        f"step: median and quartiles over {rounds} rounds of about {report.seconds / rounds:.2g} "
        f"s, at {100 * report.at:.0f} % of the schedule",
    )
    by_threads = len({p.threads for p in report.peaks}) > 1
    notes += [
        f"{p.precision}{' with TF32' if p.tf32 else ''}"
        f"{f', threads {p.threads}' if by_threads else ''}: at most {p.matrix:.3g} TFLOP/s of "
        f"matrix products, {p.convolution:.3g} of convolutions here"
        for p in report.peaks
    ]
    return Grid(f"bench speed, {_machine(report)}", columns, rows, list(dict.fromkeys(notes)))


def _parts(report: SpeedReport, results: Sequence[Result]) -> Grid:
    """Median milliseconds of each part, those that took time anywhere."""
    shown = [
        part
        for part in ORDER
        if any(r.steps and part in r.steps.parts_ms and _visible(r, part) for r in results)
    ]
    columns, rows = _named(report)
    for result, row in zip(results, rows, strict=True):
        assert result.steps
        parts = result.steps.parts_ms
        row += [_number(parts[part].median if part in parts else None) for part in shown]
    notes = ["medians over rounds: they sum to the step's up to noise"]
    return Grid("parts of a step, ms", [*columns, *shown], rows, notes)


def _visible(result: Result, part: str) -> bool:
    """At least a thousandth of the step."""
    assert result.steps
    return result.steps.parts_ms[part].median >= 1e-3 * result.steps.step_ms.median


def changes_grid(changes: Sequence[Change], name: str, warning: str = "") -> Grid:
    """What changed from `name` to this tree; `warning` stands below."""
    columns, rows = _settings([change.case for change in changes])
    columns += ["step ms before", "now", "times as fast", "quartiles", "memory", "infer", "eval"]
    notes = [
        "ratios above 1 are gains; memory: before / now; ~: the quartiles hold 1",
        *([warning] if warning else []),
    ]
    for change, row in zip(changes, rows, strict=True):
        step = change.step
        row += [
            _number(change.old.steps.step_ms.median if change.old.steps else None),
            _number(change.new.steps.step_ms.median if change.new.steps else None),
            NONE if step is None else f"{'' if change.clear else '~'}{step.median:.2f}",
            _quartiles(step),
            *(_ratio(value) for value in (change.memory, change.inference, change.evaluation)),
        ]
    return Grid(f"this tree against {name}", columns, rows, notes)


def _named(report: SpeedReport) -> tuple[list[str], list[list[str]]]:
    """Columns and cells that tell the measured results apart."""
    results = [result for result in report.results if not result.error]
    columns, rows = _settings([result.case for result in results])
    if len({result.code for result in results}) > 1:
        columns.append("code")
        for result, row in zip(results, rows, strict=True):
            row.append(result.code)
    return columns, rows


def _settings(cases: Sequence[SpeedCase]) -> tuple[list[str], list[list[str]]]:
    """Method and networks, and of the settings those that differ."""
    everywhere = set.intersection(*(set(case.overrides) for case in cases)) if cases else set()
    columns = ["method", "student", "teacher"]
    rows = [[case.method, case.student or NONE, case.teacher or NONE] for case in cases]
    keys = dict.fromkeys(
        text.partition("=")[0]
        for case in cases
        for text in case.overrides
        if text not in everywhere
    )
    for key in keys:
        columns.append(key)
        for case, row in zip(cases, rows, strict=True):
            values = dict(text.split("=", 1) for text in case.overrides)
            row.append(values.get(key, NONE))
    return columns, rows


def _machine(report: SpeedReport) -> str:
    machine = report.machine
    return f"{machine['device']}, torch {machine['torch']}, load {max(report.load, default=0):.1f}"


def _number(value: float | None) -> str:
    """Three digits, no exponent."""
    if value is None:
        return NONE
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _quartiles(spread: Spread | None) -> str:
    return NONE if spread is None else f"{spread.q1:.2f}-{spread.q3:.2f}"
