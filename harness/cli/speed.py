"""`bench speed`: how long a training step takes, and where its time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.grouped import examples
from harness.cli.options import Device, Overrides, Plugins
from harness.errors import BenchError

app = typer.Typer()


@app.command(
    epilog=examples(
        "bench speed --method dacs,dualkd",
        "bench speed --method hrda --precision fp32,bf16 --device cuda",
        "bench speed --method dualkd --compare main",
    )
)
def speed(
    method: Annotated[
        str, typer.Option(metavar="NAME,...", help="The methods to time, separated by commas.")
    ],
    student: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK,...", help="The students' networks.", show_default="the profile's"
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK,...",
            help="The teachers' networks, for methods that have one.",
            show_default="the method's",
        ),
    ] = None,
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="The profile whose sizes and knobs are used.")
    ] = "tiny",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp32,bf16,fp16",
            help="The precisions to time.",
            show_default="the profile's",
        ),
    ] = None,
    cross: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...", help="Time every value of a knob: compile=off,default."
        ),
    ] = None,
    set_: Overrides = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.01, help="How long each case is timed.")
    ] = 8.0,
    rounds: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many turns each case has.")
    ] = 8,
    at: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Where in the schedule the timed steps are, 0 to 1."
        ),
    ] = 0.7,
    together: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many cases take turns.")
    ] = 4,
    only_steps: Annotated[
        bool,
        typer.Option(
            "--only-steps", help="Time steps alone, not inference, evaluation and the rest."
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|REVISION",
            help="Compare with an earlier --json file, or with a git revision, timed in turns.",
        ),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Chrome trace of three steps here.")
    ] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")
    ] = None,
    plugin: Plugins = None,
    device: Device = None,
) -> None:
    """Time the parts of a training step, on made-up images.

    Every method is timed with every student, teacher, precision and knob given. Exit code 1: a case
    could not be measured.
    """
    from rich.console import Console

    from harness.files import check_output_file, write_text
    from harness.measure.environment import choose_device
    from harness.report.formats import print_grid
    from harness.runs.speed.cases import cross as crossed
    from harness.runs.speed.report import make_report
    from harness.runs.speed.session import EXTRAS, SpeedOptions
    from harness.runs.speed.tables import failures, grids

    for option, file in (("--json", json_), ("--trace", trace)):
        if file:
            check_output_file(option, file)
    cases = crossed(
        method.split(","),
        profile,
        student.split(",") if student else (),
        teacher.split(",") if teacher else (),
        [*([f"precision={precision}"] if precision else []), *(cross or ())],
        set_ or (),
    )
    if trace and len(cases) > 1:
        raise BenchError(f"--trace {trace}: expected one case, not {len(cases)}; name one of each.")
    options = SpeedOptions(
        device=str(choose_device(device)),
        seconds=seconds,
        rounds=rounds,
        at=at,
        plugins=tuple(plugin or ()),
        extras=() if only_steps else EXTRAS,
        trace=trace,
        together=together,
    )
    say = Console(stderr=True).print
    report, change = make_report(
        cases, options, compare, lambda line: say(line, highlight=False, markup=False)
    )
    if json_:
        write_text(json_, report.model_dump_json(indent=1) + "\n")
    console = Console()
    for grid in [*grids(report), *([change] if change else [])]:
        print_grid(grid, console, "a wider terminal or --json FILE")
    for line in failures(report):
        console.print(line, style="red", highlight=False, markup=False)
    if any(result.error and result.code == "this tree" for result in report.results):
        raise typer.Exit(1)
