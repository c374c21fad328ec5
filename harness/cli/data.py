"""The verbs of `bench` that work on data: data make, verify, stats, cache; subset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.completion import profile_names, scenario_names
from harness.cli.grouped import GroupedVerbs, examples
from harness.cli.options import DEFAULT_PROFILE, DataRoot, Seed

app = typer.Typer()
data_app = typer.Typer(
    help="Make, check, describe and cache data sets.",
    no_args_is_help=True,
    cls=GroupedVerbs,
    rich_markup_mode=None,
    epilog=examples("bench data verify --data-root /data", "bench data make --out data"),
)
app.add_typer(data_app, name="data")


@data_app.command("make", epilog=examples("bench data make --out data"))
def data_make(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to write gta5/, synthia/ ... into.")
    ],
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The profile whose image sizes and counts are used.",
            autocompletion=profile_names,
        ),
    ] = "tiny",
    seed: Seed = 0,
) -> None:
    """Write the generated data sets, in the real on-disk formats."""
    from rich.console import Console

    from harness.cli.data_reports import make
    from harness.files import check_output_folder

    check_output_folder("--out", out)
    make(out, profile, seed, Console())


@data_app.command(
    "new",
    epilog=examples(
        "bench data new fields --images photos --labels masks",
        "bench data new streets --images photos",
    ),
)
def data_new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name for your data set; NAME.toml is written.")
    ],
    images: Annotated[Path, typer.Option(metavar="DIR", help="The folder of its images.")],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of its labels.", show_default="it has none"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write into.")] = Path(),
) -> None:
    """Look at your images and labels and write the file that describes them, to start from."""
    from harness.data.describe import describe
    from harness.files import check_output_folder

    check_output_folder("--out", out)
    print(describe(name, images, labels, out))


OwnFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE.toml",
        help="The file of your own data set.",
        show_default="all sets below the data root",
    ),
]


@data_app.command(
    "verify",
    epilog=examples("bench data verify --data-root /data", "bench data verify mine.toml"),
)
def data_verify(file: OwnFile = None, data_root: DataRoot = None) -> None:
    """Check every file of every data set, and say how to fix what is wrong."""
    from rich.console import Console

    from harness.cli.data_reports import verify, verify_own

    console = Console()
    raise typer.Exit(verify_own(file, console) if file else verify(data_root, console))


@data_app.command(
    "stats",
    epilog=examples(
        "bench data stats", "bench data stats --data-root /data", "bench data stats mine.toml"
    ),
)
def data_stats(file: OwnFile = None, data_root: DataRoot = None) -> None:
    """Show how often each class occurs in each data set."""
    from rich.console import Console

    from harness.cli.data_reports import statistics, statistics_of_own

    console = Console()
    if file:
        statistics_of_own(file, console)
    else:
        statistics(data_root, console)


@data_app.command(
    "cache",
    epilog=examples(
        "bench data cache",
        "bench data cache gta2cs --data-root /data --dry-run",
        "bench data cache gta2cs --data-root /data --remove",
    ),
)
def data_cache(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO|DATASET|FILE.toml",
            help="The scenario or data set whose images are kept, or the file of your own. Without "
            "it, list what is there.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The profile whose image sizes are used.",
            show_default=f"that of a run here: {DEFAULT_PROFILE}",
            autocompletion=profile_names,
        ),
    ] = None,
    format_: Annotated[
        Literal["raw", "compressed"],
        typer.Option(
            "--format", help="The form on disk: raw is fastest, compressed takes half the space."
        ),
    ] = "raw",
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove these images from the cache.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it takes; write nothing.")
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Keep decoded, resized images in the cache, so that runs need not decode PNG files.

    What is there is kept, what has changed is built again, and a build that was cut short goes on.
    """
    from rich.console import Console

    from harness.cli.data_store import build_or_remove, show

    console = Console()
    if what is None:
        show(console)
    else:
        build_or_remove(what, profile, format_, data_root, console, remove=remove, dry_run=dry_run)


@app.command(
    epilog=examples("bench subset --scenario gta2cs --data-root /data --out few --images 16")
)
def subset(
    scenario: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The scenario whose data sets are copied from.",
            autocompletion=scenario_names,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A new folder, to be used as a data root.")
    ],
    images: Annotated[
        int, typer.Option(metavar="N", min=1, help="Images to copy of each set and split.")
    ] = 16,
    seed: Seed = 0,
    data_root: DataRoot = None,
) -> None:
    """Copy a few images of real data sets that show every class, such as for tests."""
    from rich.console import Console

    from harness.config import catalogue
    from harness.data.subset import subset as cut
    from harness.files import check_output_folder
    from harness.report.progress import Reporter

    check_output_folder("--out", out)
    console = Console()
    counting = Reporter(console).counting
    cut(catalogue.scenario(scenario), data_root, out, images, seed, console, counting)
