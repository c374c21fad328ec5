"""`bench check` with its runs: measure again what a baseline holds, in a scratch folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from harness import records
from harness.check import Report, check
from harness.errors import BenchError, DataError, in_one_line
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
    from harness.run import Workplace, choose_device, failed_record, run

    with tempfile.TemporaryDirectory() as scratch:
        reporter = Reporter(Console(stderr=True))
        place = Workplace(Path(scratch), choose_device(device), reporter)

        def measure(spec: RunSpec) -> Record:
            plan = replan(spec, data_root)
            try:
                return run(plan, place)
            except DataError:
                raise
            except Exception as error:
                # One run that crashes is a regression of that run, not of the whole gate.
                return failed_record(plan, in_one_line(error), place.device)

        return check(baseline, None, measure)


def update_baseline(baseline: Path, against: Path | None) -> int:
    """Make the done records of a file or folder the baseline -> how many. BenchError for none."""
    if against is None:
        raise BenchError("--update: expected --records FILE_OR_FOLDER to take the new ones from.")
    done = [record for record in records.read_all(against) if record.state == "done"]
    if not done:
        raise BenchError(
            f"{against} holds no done record; expected some: `bench sweep` makes them."
        )
    records.write_list(done, baseline)
    return len(done)
