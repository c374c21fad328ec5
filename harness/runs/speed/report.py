"""All of one call of `bench speed`, put together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from harness.errors import BenchError
from harness.measure.environment import ROOT, cpu_model, gpu, usable_cpus
from harness.measure.environment import checkout as commit_of
from harness.report.columns import Grid
from harness.runs.revisions import checkout
from harness.runs.speed.cases import SpeedCase
from harness.runs.speed.comparison import changes, other_machine
from harness.runs.speed.results import THIS, SpeedReport, read_report
from harness.runs.speed.session import SpeedOptions, load_average, measure, peaks
from harness.runs.speed.tables import changes_grid


def make_report(
    cases: Sequence[SpeedCase],
    options: SpeedOptions,
    compare: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[SpeedReport, Grid | None]:
    """Measure the cases, and compare them with a file or a revision -> report, table of changes.

    BenchError where `compare` is neither, or a file that holds none of the cases.
    """
    earlier = read_report(Path(compare)) if compare and Path(compare).is_file() else None
    if earlier and not {result.case for result in earlier.results} & set(cases):
        held = ", ".join(dict.fromkeys(result.case.name for result in earlier.results))
        raise BenchError(
            f"--compare {compare}: it holds none of the cases asked for, which are named by "
            f"--method, --student, --teacher, --profile and --set; expected one of: {held}."
        )
    with tempfile.TemporaryDirectory() as scratch:
        trees = {THIS: ROOT}
        name = ""
        if compare and earlier is None:
            folder = Path(scratch) / "code"
            commit = checkout(compare, folder, option="--compare")
            name = f"{compare} ({commit[:10]})"
            trees = {name: folder, THIS: ROOT}
        before = load_average()
        results = list(measure(cases, trees, options, say))
    report = SpeedReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit_of(ROOT)["commit"],
        machine=machine(options.device),
        load=[before, load_average()],
        seconds=options.seconds,
        at=options.at,
        peaks=peaks(results, options) if "peak" in options.extras else [],
        results=results,
    )
    new = [result for result in results if result.code == THIS]
    if earlier:
        warning = other_machine(earlier.machine, report.machine)
        old = [result for result in earlier.results if result.code == THIS]
        return report, changes_grid(changes(old, new, in_turns=False), str(compare), warning)
    if name:
        old = [result for result in results if result.code == name]
        return report, changes_grid(changes(old, new, in_turns=True), name)
    return report, None


def machine(device: str) -> dict[str, Any]:
    """What figures of speed depend on beside the code."""
    on_gpu = device.startswith("cuda")
    gpu_and_driver = gpu(device) if on_gpu else {}
    return {
        "device": gpu_and_driver["name"] if on_gpu else cpu_model(),
        "driver": gpu_and_driver.get("driver"),
        "cpu": cpu_model(),
        "cpus": usable_cpus(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
