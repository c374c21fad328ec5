"""The verb of `bench` that carries out a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import (
    DataRoot,
    Device,
    Fresh,
    KeepOtherCode,
    Overrides,
    Plugins,
    Results,
)
from harness.cli.run import WEIGHTS
from harness.errors import BenchError, explain

if TYPE_CHECKING:
    from harness.config.schema import Suite
    from harness.records.schema import Record

app = typer.Typer()

#: What a checkout of the project publishes; an installed package has none. A sweep shows what it
#: holds of its runs in tables of their own, after what it measured.
PUBLISHED = Path(__file__).parents[2] / "results"


@app.command()
def sweep(
    suite: Annotated[str, typer.Argument(help="See `bench list suites`, or a TOML file.")],
    profile: Annotated[
        str | None, typer.Option(help="Instead of the suite's.", show_default="the suite's")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Instead of the suite's.")
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
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = 1,
    fresh: Fresh = False,
    keep_other_code: KeepOtherCode = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many runs and hours it is, do nothing.")
    ] = False,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    device: Device = None,
) -> None:
    """Run every run of a suite: teachers first, done runs reused, one crash stops one run."""
    from rich.console import Console

    from harness.analysis.provenance import origin
    from harness.config import catalogue
    from harness.measure.environment import choose_device
    from harness.report import formats
    from harness.report.progress import Reporter
    from harness.runs.graph import announce, planned_jobs
    from harness.runs.sweep import sweep as carry_out
    from harness.runs.workplace import Workplace

    console = Console()
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
        show_outlook(planned, workplace, jobs)
        return
    outcome = carry_out(
        chosen,
        results,
        Reporter(console),
        data_root=data_root,
        device=device,
        jobs=jobs,
        fresh=fresh,
        keep_other_code=keep_other_code,
    )
    asked = {run_id for run_id, job in outcome.items() if job.wanted}
    own_records = results / "records"
    formats.print_rich(_done(asked, [own_records]), console)
    folders = [*PUBLISHED.glob("records"), *PUBLISHED.glob("*/records")]
    published = _done(asked, [folder for folder in folders if not folder.samefile(own_records)])
    formats.print_rich(published, console, title=f"published (results/, {origin(published)})")
    lost = [job for job in outcome.values() if job.state in ("failed", "skipped")]
    for job in lost:
        console.print(f"{job.state}: {job.name}: {job.error}", markup=False, highlight=False)
    raise typer.Exit(1 if lost else 0)


def _done(run_ids: set[str], folders: list[Path]) -> list[Record]:
    """The done records of these runs."""
    from harness.records import store

    return [r for r in store.read_all(folders) if r.run_id in run_ids and r.state == "done"]


def _changed_suite(suite: Suite, overrides: list[str] | None, **changes: Any) -> Suite:
    """The suite with what the options say instead. BenchError for a value that does not fit."""
    from pydantic import ValidationError

    values = suite.model_dump() | {k: v for k, v in changes.items() if v is not None}
    values["overrides"] = [*suite.overrides, *(overrides or ())]
    try:
        return type(suite).model_validate(values)
    except ValidationError as error:
        raise BenchError(f"suite {suite.name}: {explain(error)}.") from error
