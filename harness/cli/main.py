"""The verbs of `bench`: parse, call, print. What a verb needs is imported when it is called."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any, Literal, NoReturn

import typer

from harness.cli import check, claims, compare, data, methods, run, speed, sweeps, weights
from harness.cli.options import DataRoot, Plugins
from harness.errors import BenchError, Interrupted, explained, in_one_line, unexpected
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
app.add_typer(claims.app)
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


#: What typer raises for a command line that does not parse. It is click's, which newer versions of
#: typer carry within themselves: a subclass is all that every version exports.
ParsingError: type[Exception] = typer.BadParameter.__mro__[2]


def main() -> None:
    """Entry point: an error is one line and exit code 2, its traceback is shown with --debug."""
    any_terminal()
    # Sizes are checked against a bound of ours, and EXIF is read with care: no second line by PIL.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit|Corrupt EXIF data", module="PIL")
    try:
        code = app(standalone_mode=False)
    except Interrupted as end:  # what is kept has been said
        code = end.exit_code
    except ParsingError as error:
        _refuse(_unparsed(error))
    except typer.Abort:
        code = 1
    except SystemExit as end:  # no verb of ours ends so
        if end.code:
            raise
        _refuse("a method's code ended the process (sys.exit); expected it to return or to raise")
    except (BenchError, OSError) as error:
        if os.environ.get("UDA_BENCH_DEBUG"):
            raise
        _refuse(in_one_line(error))
    except Exception as error:
        if os.environ.get("UDA_BENCH_DEBUG"):
            raise
        _refuse(explained(error) or unexpected(error))
    sys.exit(code)


def _refuse(reason: str) -> NoReturn:
    print(f"bench: {reason}", file=sys.stderr)
    sys.exit(2)


def _unparsed(error: Any) -> str:
    """What is wrong with the command line, and where its help is."""
    if type(error).__name__ == "NoArgsIsHelpError":  # the help is on the screen
        return "a command expected, one of those above"
    context = getattr(error, "ctx", None)
    reason = in_one_line(error.format_message()).rstrip(".")
    return f"{reason}; see `{context.command_path if context else 'bench'} --help`"
