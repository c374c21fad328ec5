"""The verbs of `bench` for sweeps that are under way: status, cancel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.grouped import examples
from harness.cli.options import Results
from harness.errors import BenchError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.runs.jobs import Sweep

app = typer.Typer()


@app.command(epilog=examples("bench status", "bench status main --results runs"))
def status(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE", help="The suite whose sweeps are shown.", show_default="all sweeps"
        ),
    ] = None,
    results: Results = Path("runs"),
) -> None:
    """Show how far a sweep has come, with the mIoU of what is done.

    It is read from the results folder alone, on any machine that sees it.
    """
    from rich.console import Console

    console = Console()
    for path, sweep in _sweeps(results, suite):
        _show(path, sweep, results, console)


def _sweeps(results: Path, suite: str | None) -> list[tuple[Path, Sweep]]:
    """The sweeps of a suite, by its name or its TOML file. BenchError where there is none."""
    from harness.runs.jobs import read_sweeps

    name = Path(suite).stem if suite and suite.endswith(".toml") else suite
    sweeps = read_sweeps(results, name)
    if not sweeps:
        there = sorted({sweep.suite for _, sweep in read_sweeps(results)})
        raise BenchError(
            f"no sweep{f' of {name}' if name else ''} found in {results}; expected one that "
            f"`bench sweep` began there: {', '.join(there) or 'there is none'}. --results names "
            "another folder."
        )
    return sweeps


def _show(path: Path, sweep: Sweep, results: Path, console: Console) -> None:
    from harness.report.matrix import RunCell, print_matrices
    from harness.runs.jobs import is_alive
    from harness.runs.status import STATES, standings

    stands = standings(results, path, sweep)
    cells = [
        RunCell(run.scenario, run.label, run.seed, stands[run.run_id].text) for run in sweep.runs
    ]
    print_matrices(cells, sweep.suite, console)
    counts = Counter(standing.state for standing in stands.values())
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    if sweep.launcher == "slurm":
        by = "by SLURM"
    elif is_alive(path, sweep.process):
        by = f"by process {sweep.process.pid} of {sweep.process.host}"
    else:
        by = "its process has ended"
    line = f"{sweep.suite}: {len(stands)} runs: {told} ({by}, begun {sweep.created})"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    for run in sweep.runs:
        if detail := stands[run.run_id].detail:
            line = f"{stands[run.run_id].state}: {run.label}, {run.scenario}, seed {run.seed}"
            console.print(f"{line}: {detail}", markup=False, highlight=False, soft_wrap=True)


@app.command(epilog=examples("bench cancel main"))
def cancel(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="The suite whose sweeps are to end.")
    ],
    results: Results = Path("runs"),
) -> None:
    """End a suite's sweeps, on this machine or in SLURM's queue.

    What is done stays done; `bench sweep` goes on with the rest.
    """
    ended, left = [], []
    for path, sweep in _sweeps(results, suite):
        try:
            ended.append(_cancel(path, sweep, results))
        except BenchError as error:  # another sweep of the suite may be one that can be ended
            left.append(str(error))
    if any(ended) or not left:
        typer.echo("\n".join(filter(None, ended)) or f"{suite}: nothing of it runs or waits")
    if left:
        raise BenchError(" ".join(left))


def _cancel(path: Path, sweep: Sweep, results: Path) -> str:
    """End one sweep -> what to tell of it; empty where nothing of it was left."""
    import os
    import signal

    from harness.runs import jobs, slurm
    from harness.runs.status import standings

    if sweep.launcher == "local":
        process = sweep.process
        if not jobs.is_alive(path, process):
            return ""
        if process.runs() is None:
            raise BenchError(
                f"{sweep.suite} runs on {process.host}; call `bench cancel` there, or end its "
                f"process {process.pid}."
            )
        try:
            os.kill(process.pid, signal.SIGTERM)
        except ProcessLookupError:  # it has ended since
            return ""
        except PermissionError as error:
            raise BenchError(
                f"{sweep.suite}: its process {process.pid} is another user's; expected one of "
                "yours: ask who began it to end it."
            ) from error
        return f"{sweep.suite}: process {process.pid} told to end"
    stands = standings(results, path, sweep)
    left = [
        run
        for run in sweep.runs
        if run.slurm and stands[run.run_id].state in ("running", "waiting", "stopped", "skipped")
    ]
    if not left:
        return ""
    slurm.cancel(run.slurm for run in left if run.slurm)
    gone = {run.run_id for run in left}
    runs = [
        run.model_copy(update={"slurm": None}) if run.run_id in gone else run for run in sweep.runs
    ]
    jobs.write_sweep(path, sweep.model_copy(update={"runs": runs}))
    return f"{sweep.suite}: {len(left)} SLURM jobs cancelled"
