"""The verbs of `bench`: parse, call, print. What a verb needs is imported when it is called."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any, Literal, NoReturn

import typer

from harness.cli import (
    cache,
    check,
    claims,
    compare,
    data,
    export,
    figures,
    methods,
    run,
    search,
    speed,
    status,
    sweeps,
    table,
    weights,
)
from harness.cli.grouped import GroupedVerbs, examples
from harness.cli.options import DataRoot, Plugins
from harness.errors import (
    CTRL_C,
    BenchError,
    Interrupted,
    explained,
    in_one_line,
    of_a_file,
    unexpected,
)
from harness.text import any_terminal

ListFormat = Annotated[
    Literal["text", "plain", "json"],
    typer.Option(
        "--format",
        help="text wraps to the terminal; plain is one line an entry, separated by tabs; "
        "neither plain nor json cuts anything.",
    ),
]

app = typer.Typer(
    help="Compare methods of unsupervised domain adaptation for semantic segmentation.",
    epilog=examples(
        "bench doctor",
        "bench run --method source_only --scenario gta2cs --profile tiny",
        "bench run --help",
    ),
    cls=GroupedVerbs,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(run.app)
app.add_typer(sweeps.app)
app.add_typer(search.app)
app.add_typer(status.app)
app.add_typer(table.app)
app.add_typer(compare.app)
app.add_typer(figures.app)
app.add_typer(claims.app)
app.add_typer(check.app)
app.add_typer(speed.app)
app.add_typer(methods.app)
app.add_typer(data.app)
app.add_typer(cache.app)
app.add_typer(weights.app)
app.add_typer(export.app)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"uda-bench {version('uda-bench')}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error as well.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    if debug:
        os.environ["UDA_BENCH_DEBUG"] = "1"


@app.command(
    "list",
    epilog=examples(
        "bench list",
        "bench list networks 'timm:*convnext*'",
        "bench list networks 'mmseg:*' --format plain | grep segformer",
    ),
)
def list_(
    kind: Annotated[
        Literal["methods", "scenarios", "profiles", "networks", "suites", "all"],
        typer.Argument(help="What to list."),
    ] = "all",
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN",
            help="List only names that match, such as 'mini*'. 'timm:*' and 'mmseg:*' list the "
            "networks of those libraries.",
        ),
    ] = "*",
    format_: ListFormat = "text",
    plugin: Plugins = None,
) -> None:
    """List methods, scenarios, profiles, networks and suites."""
    from harness.cli.listing import print_list

    print_list(kind, pattern, format_)


@app.command(
    epilog=examples(
        "bench info dualkd",
        "bench info paper --format json",
        "bench info my_method.py",
        "bench info my_scenario.toml",
    )
)
def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A name that `bench list` prints, or a file: a method's .py, or the .toml of a "
            "scenario, profile, suite or data set.",
        ),
    ],
    format_: ListFormat = "text",
    plugin: Plugins = None,
) -> None:
    """Show what a method, scenario, profile, network, suite or data set is, and its knobs."""
    from harness.cli.listing import print_info

    print_info(name, format_)


@app.command(epilog=examples("bench doctor", "bench doctor --data-root /data"))
def doctor(data_root: DataRoot = None) -> None:
    """Check this machine: what works, what does not, and what to do."""
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
        code = app(prog_name="bench", standalone_mode=False)
    except Interrupted as end:  # what is kept has been said
        code = end.exit_code
    except ParsingError as error:
        _refuse(_unparsed(error))
    except typer.Abort:  # Ctrl-C where no stage of a run says what is kept
        print("bench: interrupted; files that were whole are kept", file=sys.stderr)
        code = CTRL_C
    except SystemExit as end:  # no verb of ours ends so
        if end.code or _completing():
            raise
        _refuse("a method's code ended the process (sys.exit); expected it to return or to raise")
    except (BenchError, OSError) as error:
        if os.environ.get("UDA_BENCH_DEBUG"):
            raise
        _refuse(of_a_file(error) if isinstance(error, OSError) else in_one_line(error))
    except Exception as error:
        if os.environ.get("UDA_BENCH_DEBUG"):
            raise
        _refuse(explained(error) or unexpected(error))
    sys.exit(code)


def _completing() -> bool:
    """Whether typer itself ends the process: it has answered a shell, or set one up."""
    return "_BENCH_COMPLETE" in os.environ or any(
        argument in ("--install-completion", "--show-completion") for argument in sys.argv[1:]
    )


def _refuse(reason: str) -> NoReturn:
    print(f"bench: {reason}", file=sys.stderr)
    sys.exit(2)


def _unparsed(error: Any) -> str:
    """What is wrong with the command line, and where its help is."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.ctx.get_help())
        return "a command expected, one of those above"
    context = getattr(error, "ctx", None)
    reason = in_one_line(error.format_message()).rstrip(".")
    return f"{reason}; see `{context.command_path if context else 'bench'} --help`"
