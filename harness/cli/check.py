"""`bench check`: hold a change against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.grouped import examples
from harness.cli.options import DataRoot, Device, Plugins
from harness.errors import BenchError

app = typer.Typer()


@app.command(
    epilog=examples(
        "bench check --baseline results/baselines/ci.json",
        "bench check --baseline results/baselines/ci.json --against main",
    )
)
def check(
    baseline: Annotated[
        Path, typer.Option(metavar="FILE", help="The records to hold, in results/baselines.")
    ],
    records: Annotated[
        Path | None,
        typer.Option(
            "--records",
            metavar="PATH",
            help="Compare these records instead of running again.",
            show_default="run again",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REVISION",
            help="Compare with this git revision; both are run now and in turns.",
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Make the --records, or runs made now, the new baseline."),
    ] = False,
    format_: Annotated[
        Literal["text", "markdown"], typer.Option("--format", help="The form of the report.")
    ] = "text",
    plugin: Plugins = None,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Compare with a baseline of records.

    Exit codes: 0 it holds, 1 regression, 2 error, 3 a run was not measured.
    """
    from harness.files import check_output_file
    from harness.runs.check import gate, gate_against, measure_again, update_baseline

    if against is not None and (records is not None or update):
        raise BenchError("--against: expected without --records and --update: it makes its runs.")
    if update:
        check_output_file("--baseline", baseline)
        if records is not None:
            count = update_baseline(baseline, records)
        else:
            count = measure_again(baseline, data_root, device)
        print(f"{baseline}: {count} records")
        return
    if against is not None:
        report, code = gate_against(baseline, against, data_root, device)
    else:
        report, code = gate(baseline, records, data_root, device)
    print(report.render(format_))
    raise typer.Exit(code)
