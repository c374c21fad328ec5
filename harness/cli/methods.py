"""The verbs of `bench` for those who write a method: new-method, test-method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.completion import method_names, network_names
from harness.cli.grouped import examples
from harness.cli.options import Overrides, Plugins

app = typer.Typer()


@app.command("new-method", epilog=examples("bench new-method my_method --out plugins"))
def new_method(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The method's name: small letters, digits and _.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for NAME.py and test_NAME.py.")
    ] = Path(),
) -> None:
    """Write a small method that runs, and its test, to change into your own."""
    from harness.files import check_output_folder
    from harness.plugins.new_method import write_method

    check_output_folder("--out", out)
    method, test = write_method(name, out)
    print(f"{method} is a method that runs, {test} its test. Next:")
    print(f"  bench test-method {name} --plugin {method}")
    print(f"  pytest {test}")
    print(f"  bench run --method {name} --plugin {method} --scenario gta2cs")


@app.command(
    "test-method",
    epilog=examples("bench test-method dacs", "bench test-method my_method --plugin my_method.py"),
)
def check_method_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The method; `bench list methods` lists them.",
            autocompletion=method_names,
        ),
    ],
    plugin: Plugins = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NETWORK",
            help="The student to test it with. May be given several times.",
            show_default="two very small ones",
            autocompletion=network_names,
        ),
    ] = None,
    set_: Overrides = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.01, max=86400, help="The time that one check may take."
        ),
    ] = 300.0,
) -> None:
    """Test a method against the contract, on the CPU.

    Exit codes: 0 it keeps to the contract, 1 it does not, 2 error.
    """
    from rich.console import Console

    from harness.plugins.test_method import check_method

    keeps = check_method(name, network or (), set_ or (), Console(), timeout)
    raise typer.Exit(0 if keeps else 1)
