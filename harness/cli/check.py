"""`bench check`: hold a change against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.options import DataRoot, Device, Plugins

app = typer.Typer()


@app.command()
def check(
    baseline: Annotated[Path, typer.Option(help="Records to hold: a file of results/baselines.")],
    against: Annotated[
        Path | None,
        typer.Option("--records", help="Take these records.", show_default="run again"),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Make the --records the new baseline instead.")
    ] = False,
    format_: Annotated[Literal["text", "markdown"], typer.Option("--format")] = "text",
    plugin: Plugins = None,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Compare with a baseline: exit 0 it holds, 1 regression, 2 error, 3 nothing measured."""
    from harness.runs.check import gate, update_baseline

    if update:
        count = update_baseline(baseline, against)
        print(f"{baseline}: {count} records")
        return
    report, code = gate(baseline, against, data_root, device)
    print(report.render(format_))
    raise typer.Exit(code)
