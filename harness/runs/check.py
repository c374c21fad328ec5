"""`bench check` with its runs: measure again what a baseline holds, in a scratch folder."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from harness.analysis.regression import (
    NOTHING_MEASURED,
    SPEEDS,
    Finding,
    Report,
    best,
    check,
    compare,
    name_of,
)
from harness.config.schema import RunSpec
from harness.errors import BenchError, in_one_line
from harness.files import read_text
from harness.measure.environment import ROOT
from harness.processes import ending
from harness.records import store
from harness.records.schema import Record
from harness.runs import revisions

#: Times that each of two revisions runs a spec, in turns; the best of each counts.
#: As many more where speed alone is off.
ROUNDS = 3


def gate(
    baseline: Path, records: Path | None, data_root: Path | None, device: str | None
) -> tuple[Report, int]:
    """Compare given records, or runs made now, with a baseline -> report and exit code.

    Runs made now are timed by a clock that stops while other work has the processor.
    """
    if records is not None:
        return check(baseline, records, None)
    with _runner(baseline, data_root, device) as measure:
        return check(baseline, None, measure)


def measure_again(baseline: Path, data_root: Path | None, device: str | None) -> int:
    """Run every spec of a baseline and make that the baseline -> how many.

    BenchError where one run fails; the baseline is then as before.
    """
    with _runner(baseline, data_root, device) as measure:
        records = [measure(record.spec) for record in store.read_all(baseline)]
    for record in records:
        if record.state != "done":
            raise BenchError(
                f"{baseline} is unchanged: {record.spec.method} failed: {record.error}"
            )
    store.write_list(records, baseline)
    return len(records)


@contextmanager
def _runner(
    baseline: Path, data_root: Path | None, device: str | None
) -> Iterator[Callable[[RunSpec], Record]]:
    """What runs a spec of the baseline in a process of its own, in a scratch folder."""
    from harness.config.replanning import replan
    from harness.measure.environment import choose_device
    from harness.report.progress import Reporter
    from harness.runs.launchers import Task, carry_out
    from harness.runs.training import check_data
    from harness.runs.workplace import Workplace, failed_record, record_of

    for record in store.read_all(baseline):
        _refuse_files(baseline, record.spec)
    with tempfile.TemporaryDirectory() as scratch:
        reporter = Reporter(Console(stderr=True))
        workplace = Workplace(Path(scratch), choose_device(device), reporter)

        def measure(spec: RunSpec) -> Record:
            plan = replan(spec, data_root)
            check_data(plan, reporter)  # bad data is an error of the gate, not of one run
            for stale in (workplace.results / "records").glob(f"*-{plan.spec.run_id}*.json"):
                stale.unlink(missing_ok=True)
            task = Task.of(
                plan, workplace.results, device=str(workplace.device), fresh=True, own_time=True
            )
            printed: list[str] = []
            code = carry_out(task, printed.append, inherit=False)
            for line in printed:
                reporter.say(line)
            # One run that crashes is a regression of that run, not of the whole gate.
            return (
                record_of(plan, workplace)
                or record_of(plan, workplace, "failed")
                or failed_record(plan, ending(code, " ".join(printed[-1:])), workplace)
            )

        yield measure


def gate_against(
    baseline: Path, revision: str, data_root: Path | None, device: str | None
) -> tuple[Report, int]:
    """Run a baseline's specs with another revision's code and with this tree's, in turns.

    The baseline gives the specs alone: figures are compared between the two, of each the best
    speeds and the least memory of ROUNDS runs. What slows the machine slows both.
    """
    specs = [record.spec for record in store.read_all(baseline)]
    for spec in specs:
        _refuse_files(baseline, spec)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        commit = revisions.checkout(revision, folder / "code")
        say = Console(stderr=True).print
        trees = {f"{revision} ({commit[:10]})": folder / "code", "this tree": ROOT}
        own_time = all(map(_knows_own_time, trees.values()))  # the same clock for both
        findings: list[Finding] = []
        for spec in specs:

            def measure(name: str, spec: RunSpec = spec) -> Record | str:
                say(f"{spec.method} {spec.student}: {name}", highlight=False, markup=False)
                workplace = folder / ("new" if name == "this tree" else "old")
                return _run_with(trees[name], spec, workplace, data_root, device, own_time)

            findings += _compare_in_turns(spec, list(trees), measure)
    report = Report(findings)
    return report, report.exit_code if findings else NOTHING_MEASURED


def _compare_in_turns(
    spec: RunSpec, names: list[str], measure: Callable[[str], Record | str]
) -> list[Finding]:
    """Measure old and new in turns; `measure` gives a record, or says why there is none."""
    records: dict[str, list[Record]] = {name: [] for name in names}
    for done in range(1, 2 * ROUNDS + 1):
        for name in names:
            record = measure(name)
            if isinstance(record, str):
                # What the other revision cannot run is no fault of this one.
                new = name == names[1]
                detail = f"{name}: {record}"
                return [
                    Finding(name_of(spec), "run", "regressed" if new else "not measured", detail)
                ]
            records[name].append(record.model_copy(update={"spec": spec}))
        old, new_best = (best(records[name]) for name in names)
        report = compare([old], [new_best])
        off = {finding.quantity for finding in report.of("regressed")}
        # A busy machine may slow one side more: speed alone is measured for longer.
        if done >= ROUNDS and not (off and off <= set(SPEEDS)):
            break
    return report.findings


def _knows_own_time(code: Path) -> bool:
    """Whether a revision's worker can leave out the time that other work takes."""
    launchers = code / "harness/runs/launchers.py"
    return launchers.is_file() and "own_time" in read_text(launchers)


def _run_with(
    code: Path,
    spec: RunSpec,
    results: Path,
    data_root: Path | None,
    device: str | None,
    own_time: bool = False,
) -> Record | str:
    """Run a spec in a process with the code of a folder -> its record, or why there is none."""
    from harness.runs.launchers import Task
    from methods import registry

    workers = {
        "harness.runs.worker": "harness/runs/worker.py",
        "harness.worker": "harness/worker.py",
    }
    module = next((name for name, file in workers.items() if (code / file).is_file()), None)
    if module is None:
        return f"no worker in its code; expected {' or '.join(workers.values())}"
    task = Task(
        spec=spec,
        config=spec.method_config,
        plugins=[plug_in.path.resolve() for plug_in in registry.FILES.values()],
        results=results,
        data_root=data_root.resolve() if data_root else None,
        device=device,
        fresh=True,
        own_time=own_time,
    )
    # Their records are read anew each time; the frozen teachers' weights stay for the next round.
    folder = results / "records"
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.json"):
        stale.unlink(missing_ok=True)
    path = results / "task.json"
    path.write_text(task.model_dump_json(), encoding="utf-8")
    done = subprocess.run(
        revisions.command(code, f"from {module} import main; main(sys.argv[1])", str(path)),
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},  # of the processes that it starts itself
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    asked = (spec.method, spec.student)
    try:
        records = [r for r in store.read_all(folder) if (r.spec.method, r.spec.student) == asked]
    except BenchError as error:
        return in_one_line(error)
    if records and records[0].state == "done":
        return records[0]
    if records:
        return records[0].error or "failed"
    return ending(done.returncode, done.stdout.strip().rpartition(chr(10))[2])


def _refuse_files(baseline: Path, spec: RunSpec) -> None:
    """BenchError for a run that started from a user's weight file."""
    others = [*spec.teachers, *spec.companions]
    if spec.init or any("init" in n or "checkpoint_sha256" in n for n in others):
        raise BenchError(
            f"{baseline}: run {spec.run_id} ({spec.method}, {spec.scenario.name}, seed {spec.seed})"
            " started from a weight file (--init or a teacher's), of which a record holds the hash "
            "alone, so it cannot be run again here; give its new record: --records FILE."
        )


def update_baseline(baseline: Path, records: Path) -> int:
    """Make the done records of a file or folder the baseline -> how many. BenchError for none."""
    done = [record for record in store.read_all(records) if record.state == "done"]
    if not done:
        raise BenchError(
            f"{records} holds no done record; expected some: `bench sweep` makes them."
        )
    store.write_list(done, baseline)
    return len(done)
