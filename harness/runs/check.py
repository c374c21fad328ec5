"""`bench check` with its runs: measure again what a baseline holds, in a scratch folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from harness.analysis.regression import Report, check
from harness.config.schema import RunSpec
from harness.errors import BenchError, DataError, in_one_line
from harness.records import store
from harness.records.schema import Record


def gate(
    baseline: Path, against: Path | None, data_root: Path | None, device: str | None
) -> tuple[Report, int]:
    """Compare given records, or runs made now, with a baseline -> report and exit code."""
    if against is not None:
        return check(baseline, against, None)
    from harness.config.planning import replan
    from harness.measure.environment import choose_device
    from harness.measure.own_time import own_time
    from harness.report.progress import Reporter
    from harness.runs.run import Workplace, failed_record, run

    for record in store.read_all(baseline):
        _refuse_files(baseline, record.spec)
    with tempfile.TemporaryDirectory() as scratch:
        reporter = Reporter(Console(stderr=True))
        place = Workplace(Path(scratch), choose_device(device), reporter, own_time)

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


def _refuse_files(baseline: Path, spec: RunSpec) -> None:
    """BenchError for a run that started from a user's weight file."""
    others = [*spec.teachers, *spec.companions]
    if spec.init or any("init" in n or "checkpoint_sha256" in n for n in others):
        raise BenchError(
            f"{baseline}: run {spec.run_id} ({spec.method}, {spec.scenario.name}, seed {spec.seed})"
            " started from a weight file (--init or a teacher's), of which a record holds the hash "
            "alone, so it cannot be run again here; give its new record: --records FILE."
        )


def update_baseline(baseline: Path, against: Path | None) -> int:
    """Make the done records of a file or folder the baseline -> how many. BenchError for none."""
    if against is None:
        raise BenchError("--update: expected --records FILE_OR_FOLDER to take the new ones from.")
    done = [record for record in store.read_all(against) if record.state == "done"]
    if not done:
        raise BenchError(
            f"{against} holds no done record; expected some: `bench sweep` makes them."
        )
    store.write_list(done, baseline)
    return len(done)
