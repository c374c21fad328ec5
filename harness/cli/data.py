"""The verbs of `bench` that work on data: data make, verify, stats, cache; subset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.options import DataRoot, Seed

app = typer.Typer()
data_app = typer.Typer(help="Make, check and describe data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("make")
def data_make(
    out: Annotated[Path, typer.Option(help="Folder to write gta5/, synthia/ ... into.")],
    profile: Annotated[str, typer.Option(help="Whose image sizes and counts.")] = "tiny",
    seed: Seed = 0,
) -> None:
    """Write the generated data sets, in the real on-disk formats."""
    from rich.console import Console

    from harness.cli.data_reports import make

    make(out, profile, seed, Console())


@data_app.command("new")
def data_new(
    name: Annotated[str, typer.Argument(help="Of your data set; NAME.toml is written.")],
    images: Annotated[Path, typer.Option(help="Folder of its images.")],
    labels: Annotated[
        Path | None, typer.Option(help="Folder of its labels.", show_default="it has none")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path(),
) -> None:
    """Look at your images and labels and write the file that describes them, to start from."""
    from harness.data.describe import describe

    print(describe(name, images, labels, out))


OwnFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE.toml]",
        help="Your own data set's file.",
        show_default="all sets below the data root",
    ),
]


@data_app.command("verify")
def data_verify(file: OwnFile = None, data_root: DataRoot = None) -> None:
    """Check every file of every data set; say what is wrong with which, and how to fix it."""
    from rich.console import Console

    from harness.cli.data_reports import verify, verify_own

    console = Console()
    raise typer.Exit(verify_own(file, console) if file else verify(data_root, console))


@data_app.command("stats")
def data_stats(file: OwnFile = None, data_root: DataRoot = None) -> None:
    """Show how often each class occurs in each data set."""
    from rich.console import Console

    from harness.cli.data_reports import statistics, statistics_of_own

    console = Console()
    if file:
        statistics_of_own(file, console)
    else:
        statistics(data_root, console)


@data_app.command("cache")
def data_cache(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[SCENARIO|DATASET]",
            help="Whose images; see `bench list`. None: list what there is.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Whose image sizes.", show_default="paper with real data, else tiny"),
    ] = None,
    format_: Annotated[
        Literal["raw", "compressed"],
        typer.Option("--format", help="raw is the fastest, compressed takes half the disk."),
    ] = "raw",
    remove: Annotated[bool, typer.Option("--remove", help="Remove it instead.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it costs, write nothing.")
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Keep decoded, resized images in the cache: runs load them instead of decoding PNG files.

    What is there is kept, what has changed is built again, a build that was cut short goes on.
    """
    from rich.console import Console

    from harness.cli.data_store import build_or_remove, show

    console = Console()
    if what is None:
        show(console)
    else:
        build_or_remove(what, profile, format_, data_root, console, remove=remove, dry_run=dry_run)


@app.command()
def subset(
    scenario: Annotated[str, typer.Option(help="Whose data sets; see `bench list scenarios`.")],
    out: Annotated[Path, typer.Option(help="New folder, to be used as a data root.")],
    images: Annotated[int, typer.Option(min=1, help="Of each set and split.")] = 16,
    seed: Seed = 0,
    data_root: DataRoot = None,
) -> None:
    """Copy a few images with every class out of real data sets, such as for tests in CI."""
    from rich.console import Console

    from harness.config import catalogue
    from harness.data.subset import subset as cut

    cut(catalogue.scenario(scenario), data_root, out, images, seed, Console())
