"""The verbs of `bench`: parse, call, print. What a verb needs is imported when it is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import typer

from harness.cli import check, compare, data, methods, run, speed, sweeps, weights
from harness.cli.options import DataRoot, Plugins
from harness.errors import BenchError, Interrupted, in_one_line
from harness.text import any_terminal

app = typer.Typer(
    help="Compare methods of unsupervised domain adaptation for semantic segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(run.app)
app.add_typer(sweeps.app)
app.add_typer(compare.app)
app.add_typer(check.app)
app.add_typer(speed.app)
app.add_typer(methods.app)
app.add_typer(data.app)
app.add_typer(weights.app)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of a user's error.")] = False,
) -> None:
    if debug:
        os.environ["UDA_BENCH_DEBUG"] = "1"


@app.command("list")
def list_(
    kind: Annotated[
        Literal["methods", "scenarios", "profiles", "networks", "suites", "all"],
        typer.Argument(),
    ] = "all",
    pattern: Annotated[
        str, typer.Argument(help="Such as 'mini*'; 'timm:*' and 'mmseg:*' list those libraries'.")
    ] = "*",
    plugin: Plugins = None,
) -> None:
    """List methods, scenarios, profiles, networks, suites."""
    from harness.cli.listing import print_list

    print_list(kind, pattern)


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="Any name that `bench list` prints.")],
    plugin: Plugins = None,
) -> None:
    """Say what a method, scenario, profile, network or suite is, and its knobs with defaults."""
    from harness.cli.listing import print_info

    print_info(name)


@app.command()
def doctor(data_root: DataRoot = None) -> None:
    """Say what works on this machine, what does not, and what to do."""
    from rich.console import Console

    from harness.cli.doctor import examine, render

    findings = examine(data_root)
    render(findings, Console())
    raise typer.Exit(1 if any(f.state == "bad" for f in findings) else 0)


def main() -> None:
    """Entry point: a user's error is one line and exit code 2."""
    any_terminal()
    try:
        app()
    except Interrupted as end:  # what is kept has been said
        sys.exit(end.exit_code)
    except (BenchError, OSError) as error:
        if os.environ.get("UDA_BENCH_DEBUG"):
            raise
        print(f"bench: {in_one_line(error)}", file=sys.stderr)
        sys.exit(2)
