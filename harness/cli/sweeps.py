"""`bench sweep`: carry out a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.completion import profile_names, suite_names
from harness.cli.grouped import examples
from harness.cli.options import (
    WEIGHTS,
    DataRoot,
    Device,
    Fresh,
    KeepOtherCode,
    Overrides,
    Plugins,
    Results,
)
from harness.errors import GOES_ON, BenchError, explain

if TYPE_CHECKING:
    from harness.config.schema import Suite
    from harness.records.schema import Record
    from harness.runs.slurm import SlurmOptions

app = typer.Typer()

#: What a checkout of the project publishes; an installed package has none. A sweep shows what it
#: holds of its runs in tables of their own, after what it measured.
PUBLISHED = Path(__file__).parents[2] / "results"


@app.command(
    epilog=examples(
        "bench sweep main --dry-run",
        "bench sweep main --profile tiny --seeds 0,1,2",
        "bench sweep my_suite.toml --jobs 2",
    )
)
def sweep(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE",
            help="A suite that `bench list suites` prints, or a TOML file.",
            autocompletion=suite_names,
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The profile to run with.",
            show_default="the suite's",
            autocompletion=profile_names,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="The seeds to run.", show_default="the suite's"),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar=WEIGHTS, help="Weights that every student's encoder starts from."),
    ] = None,
    teacher_init: Annotated[
        str | None,
        typer.Option(metavar=WEIGHTS, help="The same for frozen teachers' encoders."),
    ] = None,
    set_: Overrides = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="How many runs go side by side, one a GPU where there are GPUs.",
            show_default="1",
        ),
    ] = None,
    fresh: Fresh = False,
    keep_other_code: KeepOtherCode = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say how many runs and hours it takes and which would fail; run nothing.",
        ),
    ] = False,
    launcher: Annotated[
        Literal["local", "slurm"],
        typer.Option(help="Run in processes of this machine, or as jobs of a SLURM cluster."),
    ] = "local",
    time: Annotated[
        str | None,
        typer.Option(
            metavar="H:MM:SS",
            help="The time limit of a SLURM job, such as 12:00:00.",
            show_default="twice the estimate and half an hour",
        ),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A long option of sbatch, such as partition=gpu."),
    ] = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    device: Device = None,
) -> None:
    """Run a suite of runs: teachers before students, done runs reused.

    A run that fails stops only those that need its weights.
    """
    from rich.console import Console

    from harness.analysis.provenance import origin
    from harness.config import catalogue
    from harness.measure.environment import choose_device
    from harness.report import formats
    from harness.report.outcome import next_line
    from harness.report.outlasted import outlasted
    from harness.report.progress import Reporter
    from harness.runs.graph import LOST, announce, planned_jobs
    from harness.runs.sweep import sweep as carry_out
    from harness.runs.workplace import Workplace, check_results

    check_results(results)
    console = Console()
    wishes = _slurm_wishes(launcher, jobs, time, slurm)
    chosen = _changed_suite(
        catalogue.suite(suite),
        profile=profile,
        seeds=seeds.split(",") if seeds else None,
        init=init,
        teacher_init=teacher_init,
        overrides=set_,
    )
    if dry_run:
        from harness.runs.outlook import show_outlook

        workplace = Workplace(results, choose_device(device), Reporter(console), keep_other_code)
        planned, others = planned_jobs(chosen, workplace, data_root, fresh)
        announce(chosen, planned, others, workplace)
        raise typer.Exit(0 if show_outlook(planned, workplace, jobs or 1) else 1)
    outcome = carry_out(
        chosen,
        results,
        Reporter(outlasted(console)),
        data_root=data_root,
        device=device,
        jobs=jobs or 1,
        slurm=wishes,
        fresh=fresh,
        keep_other_code=keep_other_code,
    )
    asked = {run_id for run_id, job in outcome.items() if job.wanted}
    own_records = results / "records"
    formats.print_rich(_done(asked, [own_records]), console)
    folders = [*PUBLISHED.glob("records"), *PUBLISHED.glob("*/records")]
    published = _done(asked, [folder for folder in folders if not folder.samefile(own_records)])
    formats.print_rich(published, console, title=f"published (results/, {origin(published)})")
    lost = [job for job in outcome.values() if job.state in LOST]
    for job in lost:
        console.print(f"{job.state}: {job.name}: {job.error}", markup=False, highlight=False)
    if asked:
        followed = ("bench table --per-class", "bench claims", "bench report --out DIR")
        console.print(next_line(results, *followed), markup=False, highlight=False, soft_wrap=True)
    failed = any(job.state == "failed" for job in lost)
    raise typer.Exit(0 if not lost else 1 if failed else GOES_ON)


def _slurm_wishes(
    launcher: str, jobs: int | None, time: str | None, settings: list[str] | None
) -> SlurmOptions | None:
    """What the options ask of SLURM, None where it is not asked. BenchError for a contradiction."""
    from harness.runs.slurm import options

    if launcher == "slurm":
        if jobs:
            raise BenchError(
                f"--jobs {jobs}: SLURM itself decides how many runs it has going; leave it out."
            )
        return options(time, settings or ())
    for option, value in (("--time", time), ("--slurm", " --slurm ".join(settings or ()))):
        if value:
            raise BenchError(
                f"{option} {value}: it is for SLURM's jobs; expected --launcher slurm with it."
            )
    return None


def _done(run_ids: set[str], folders: list[Path]) -> list[Record]:
    """The done records of these runs."""
    from harness.records import store

    return [r for r in store.read_all(folders) if r.run_id in run_ids and r.state == "done"]


def _changed_suite(suite: Suite, overrides: list[str] | None, **changes: Any) -> Suite:
    """The suite with what the options say instead. BenchError for a value that does not fit."""
    from pydantic import ValidationError

    values = suite.model_dump() | {k: v for k, v in changes.items() if v is not None}
    if changes.get("seeds"):
        values["more_seeds"] = {}
    values["overrides"] = [*suite.overrides, *(overrides or ())]
    try:
        return type(suite).model_validate(values)
    except ValidationError as error:
        raise BenchError(f"suite {suite.name}: {explain(error)}.") from error
