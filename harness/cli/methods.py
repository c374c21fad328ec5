"""The verbs of `bench` for those who write a method: new-method, test-method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Overrides, Plugins

app = typer.Typer()


@app.command("new-method")
def new_method(
    name: Annotated[str, typer.Argument(help="Small letters, digits and _: my_method.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.py and test_NAME.py.")] = Path(),
) -> None:
    """Write a small method that runs, and its test, to be changed into your own."""
    from harness.plugins.new_method import write_method

    method, test = write_method(name, out)
    print(f"{method} is a method that runs, {test} its test. Next:")
    print(f"  bench test-method {name} --plugin {method}")
    print(f"  pytest {test}")
    print(f"  bench run --method {name} --plugin {method} --scenario gta2cs")


@app.command("test-method")
def check_method_(
    name: Annotated[str, typer.Argument(help="See `bench list methods`.")],
    plugin: Plugins = None,
    network: Annotated[
        list[str] | None,
        typer.Option(help="Student to test it with.", show_default="two microscopic ones"),
    ] = None,
    set_: Overrides = None,
    timeout: Annotated[
        float, typer.Option(min=0.01, max=86400, help="Seconds that one check may take.")
    ] = 300.0,
) -> None:
    """Hold a method against the contract, on the CPU: exit 0 it keeps to it, 1 it does not."""
    from rich.console import Console

    from harness.plugins.test_method import check_method

    keeps = check_method(name, network or (), set_ or (), Console(), timeout)
    raise typer.Exit(0 if keeps else 1)
