"""Options that several verbs of `bench` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _use_plugins(paths: list[Path] | None) -> list[Path] | None:
    from harness.config.planning import use_plugins

    use_plugins(paths or ())
    return paths


#: What stands for start weights: a file, those that the network has here, or random ones.
WEIGHTS = "FILE|imagenet|none"

#: To declare it is enough: the methods are known before the verb is called.
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        envvar="UDA_BENCH_PLUGIN",
        callback=_use_plugins,
        help="Know the method in this Python file, by the file's name.",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar="UDA_BENCH_DATA",
        help="Folder that holds gta5/, synthia/, cityscapes/, camvid/, acdc/, darkzurich/.",
        show_default="none: data is generated",
    ),
]
Results = Annotated[
    Path,
    typer.Option("--results", envvar="UDA_BENCH_RESULTS", help="Where records and weights go."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train again what is done.")]
KeepOtherCode = Annotated[
    bool,
    typer.Option(
        "--keep-other-code",
        help="Use records and weights that other code, another torch or another kind of device "
        "made, instead of making them again.",
    ),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="NAME",
        help="Tell another program of the run as well: tensorboard, wandb or mlflow, each an extra "
        "of that name. May be given several times.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1 ...", show_default="a GPU where there is one"),
]
Seed = Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Of every draw.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override any knob; see `bench info`."),
]
