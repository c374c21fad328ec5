"""What the steps of `gpu.py` have measured so far, beside the goals, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_plan import Step, TimedCase, figures, read

from harness.files import write_text
from harness.runs.speed.results import Result, read_report

#: Of profile paper, what its 40,000 steps may take, and of the reference's eager fp32.
STEPS, GOALS = 40_000, {"minutes": 40, "times_as_fast": 4, "memory_share": 0.5}


def summarise(steps: Sequence[Step], out: Path) -> str:
    """Write what the first student's steps alone took, as JSON and as a table -> the table."""
    states = {step.name: read(out, step).get("state", "to do") for step in steps}
    student = next(step.case.student for step in steps if step.case)
    timed = [s.case for s in steps if s.case and states[s.name] == "done"]
    cases = [case for case in timed if case.student == student and not case.teacher]
    reports = {case: read_report(figures(out, case.name)) for case in cases}
    rows = compared({case: report.results[0] for case, report in reports.items()})
    summary = {
        "student": student,
        "devices": sorted({report.machine["device"] for report in reports.values()}),
        "steps": STEPS,
        "goals": GOALS,
        "reference": "not run",
        "rows": rows,
        "states": {state: [n for n in states if states[n] == state] for state in states.values()},
    }
    table = in_markdown(summary)
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "summary.md", table)
    return table


def compared(results: dict[TimedCase, Result]) -> list[dict[str, Any]]:
    """A row a case: its figures, and their ratios to eager fp32, None where that is not there."""
    base = next((result for case, result in results.items() if is_base(case)), None)
    rows = []
    for case, result in results.items():
        assert result.steps, "a step that is done was measured"
        assert result.memory
        time_ms = result.steps.step_ms
        row = {
            "precision": case.precision,
            "compile": case.compile,
            "further": case.further,
            "step_ms": time_ms.median,
            "quartiles": [time_ms.q1, time_ms.q3],
            "peak_mib": result.memory.mib,
            "minutes": time_ms.median * STEPS / 60_000,
            "times_as_fast": None,
            "memory_share": None,
            "unmet": result.unmet,
        }
        if base and base.steps and base.memory:
            row["times_as_fast"] = base.steps.step_ms.median / time_ms.median
            row["memory_share"] = result.memory.mib / base.memory.mib
        rows.append(row)
    return rows


def is_base(case: TimedCase) -> bool:
    return (case.precision, case.compile, case.further) == ("fp32", "off", "")


def in_markdown(summary: dict[str, Any]) -> str:
    """The rows as a table, with what their goals mean."""
    device = ", ".join(summary["devices"]) or "nothing measured yet"
    goals = summary["goals"]
    lines = [
        f"# `daformer`, {summary['student']}: {device}",
        "",
        "Goals are of MiT-B5 with profile `paper`: 40,000 steps in 40 minutes, and 4 times as fast "
        "as the reference's order of work in eager fp32, in half of its memory. The reference "
        "itself was not run: ratios are to this code in eager fp32. Steps alone, without loader "
        "and scores.",
        "",
        f"| precision | compile | further | ms a step (quartiles) | peak MiB | {STEPS:,} steps, "
        f"minutes (goal {goals['minutes']}) | times as fast (goal {goals['times_as_fast']}) "
        f"| of the memory (goal {goals['memory_share']}) | not supported here |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in summary["rows"]:
        low, high = row["quartiles"]
        cells = [
            row["precision"],
            row["compile"],
            row["further"],
            f"{row['step_ms']:.1f} ({low:.1f} to {high:.1f})",
            f"{row['peak_mib']:,.0f}",
            f"{row['minutes']:.1f}",
            *(f"{row[k]:.2f}" if row[k] else "" for k in ("times_as_fast", "memory_share")),
            "; ".join(row["unmet"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    counts = ", ".join(f"{len(names)} {state}" for state, names in summary["states"].items())
    lines += ["", f"Steps of the script: {counts}."]
    if failed := summary["states"].get("failed"):
        lines.append(f"Failed: {', '.join(failed)}.")
    return "\n".join(lines) + "\n"
