"""`bench check` with its runs: measure again what a baseline holds, in a scratch folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from harness.check import Report, check
from harness.records import Record
from harness.spec import RunSpec


def gate(
    baseline: Path, against: Path | None, data_root: Path | None, device: str | None
) -> tuple[Report, int]:
    """Compare given records, or runs made now, with a baseline -> report and exit code."""
    if against is not None:
        return check(baseline, against, None)
    from harness.report.progress import Reporter
    from harness.resolve import replan
    from harness.run import Workplace, choose_device, run

    with tempfile.TemporaryDirectory() as scratch:
        reporter = Reporter(Console(stderr=True))
        place = Workplace(Path(scratch), choose_device(device), reporter)

        def measure(spec: RunSpec) -> Record:
            return run(replan(spec, data_root), place)

        return check(baseline, None, measure)
