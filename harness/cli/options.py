"""Options that several verbs of `bench` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.completion import (
    method_names,
    network_names,
    profile_names,
    scenario_names,
    suite_names,
)

#: Files for --plugin, separated as in PATH.
PLUGIN_VARIABLE = "UDA_BENCH_PLUGIN"


def _use_plugins(
    context: typer.Context, option: typer.CallbackParam, paths: list[Path] | None
) -> list[Path] | None:
    from harness.config.planning import use_plugins

    source = context.get_parameter_source(option.name or "")
    if source and source.name == "ENVIRONMENT":
        paths = [path for path in paths or () if path != Path()]  # `:` at an end of the list
        use_plugins(paths, PLUGIN_VARIABLE)
    else:
        use_plugins(paths or ())
    return paths


#: What stands for start weights: a file, those that the network has here, or random ones.
WEIGHTS = "FILE|imagenet|none"
#: What --profile is where a run trains and none is named, as `default_profile` decides.
DEFAULT_PROFILE = "with real data paper on a GPU and photo without one, else tiny"

#: To declare it is enough: the methods are known before the verb is called.
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        envvar=PLUGIN_VARIABLE,
        callback=_use_plugins,
        help="Add the method in this Python file; its name is the file's.",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        envvar="UDA_BENCH_DATA",
        help="The folder that holds the data sets, such as gta5/ and cityscapes/.",
        show_default="none, data is generated",
    ),
]
Results = Annotated[
    Path,
    typer.Option(
        "--results",
        metavar="DIR",
        envvar="UDA_BENCH_RESULTS",
        help="The folder for records and weights.",
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train again even what is done.")]
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
    typer.Option(
        metavar="DEVICE",
        help="The device to compute on: cpu, cuda, cuda:1 ...",
        show_default="a GPU where there is one",
    ),
]


def _small_enough(seed: int) -> int:
    if not 0 <= seed < 2**64:  # what torch takes
        raise typer.BadParameter(f"{seed} is not in the range 0 to 2**64 - 1.")
    return seed


Seed = Annotated[
    int,
    typer.Option(
        metavar="N", callback=_small_enough, help="The seed of every random draw, 0 or more."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a knob of the method, profile or scenario; `bench info` lists them. May be "
        "given several times.",
    ),
]
#: What `harness.cli.selection.select` looks at, and which of it passes.
Records = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RECORDS",
        help="Records to look at: files or folders of them.",
        show_default="those of --results",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="Take only this method. May be given several times.",
        autocompletion=method_names,
    ),
]
Scenarios = Annotated[
    list[str] | None,
    typer.Option(
        "--scenario",
        metavar="NAME",
        help="Take only this scenario. May be given several times.",
        autocompletion=scenario_names,
    ),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Take only runs with this profile.",
        autocompletion=profile_names,
    ),
]
Student = Annotated[
    str | None,
    typer.Option(
        "--student",
        metavar="NETWORK",
        help="Take only runs with this student.",
        autocompletion=network_names,
    ),
]
SuiteName = Annotated[
    str | None,
    typer.Option(
        "--suite",
        metavar="SUITE",
        help="Take only what this suite asks for, without its frozen teachers' own runs.",
        autocompletion=suite_names,
    ),
]
