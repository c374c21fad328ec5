"""The verbs of `bench` that run and compare: run, sweep, table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from harness.cli.selection import select
from harness.errors import BenchError, explain

if TYPE_CHECKING:
    from harness.config.schema import Suite
    from harness.records.schema import Record
    from harness.runs.workplace import Workplace

app = typer.Typer()

#: What a checkout of the project publishes; an installed package has none. A sweep shows what it
#: holds of its runs in tables of their own, after what it measured.
PUBLISHED = Path(__file__).parents[2] / "results"

#: What stands for start weights: a file, those that the network has here, or random ones.
WEIGHTS = "FILE|imagenet|none"

Format = Literal["rich", "markdown", "latex", "csv", "json", "html"]


@app.command()
def run(
    method: Annotated[str, typer.Option(help="See `bench list methods`.")],
    scenario: Annotated[str, typer.Option(help="See `bench list scenarios`.")],
    profile: Annotated[
        str | None,
        typer.Option(help="How big.", show_default="paper with real data, else tiny"),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(help="Network; see `bench list networks`.", show_default="the profile's"),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="Teacher's network.", show_default="one size up"),
    ] = None,
    teacher_checkpoint: Annotated[
        Path | None,
        typer.Option(help="Frozen teacher's weights.", show_default="trained on the source first"),
    ] = None,
    teacher_init: Annotated[
        str | None,
        typer.Option(
            metavar=WEIGHTS,
            help="Weights that its encoder starts from.",
            show_default="the profile's, else random",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar=WEIGHTS,
            help="Weights that the student's encoder starts from.",
            show_default="the profile's, else random",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    set_: Overrides = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    device: Device = None,
    fresh: Fresh = False,
    keep_other_code: KeepOtherCode = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved run and its cost, do nothing.")
    ] = False,
) -> None:
    """Train one method on one scenario, score, measure and record it, and show the figures.

    A run that is done is shown; one that was cut short goes on at the stage it had reached.
    """
    from rich.console import Console

    from harness.config.planning import Request, resolve
    from harness.measure.environment import choose_device
    from harness.report.progress import Reporter, hashing_shown
    from harness.runs.run import run as carry_out
    from harness.runs.workplace import Workplace, is_current, record_of

    request = Request(
        method=method,
        scenario=scenario,
        profile=profile,
        student=student,
        teacher=teacher,
        teacher_checkpoint=str(teacher_checkpoint) if teacher_checkpoint else None,
        teacher_init=teacher_init,
        init=init,
        seed=seed,
        overrides=tuple(set_ or ()),
    )
    with hashing_shown():
        plan = resolve(request, data_root)
    console = Console()
    if dry_run:
        from harness.runs.estimate import show_estimate

        show_estimate(plan, choose_device(device), console)
        return
    workplace = Workplace(results, choose_device(device), Reporter(console), keep_other_code)
    record = None if fresh else record_of(plan, workplace)
    if record and is_current(record, plan, workplace):
        workplace.report.say(
            f"run {record.run_id} is done ({record.created}); --fresh trains again"
        )
    elif record and keep_other_code:
        workplace.report.say(f"run {record.run_id} was done by other code or on another machine")
    else:
        if record:
            workplace.report.say(
                f"run {record.run_id} was done by other code, another torch or on another kind of "
                "device: run again (--keep-other-code shows it instead)"
            )
        record = carry_out(plan, workplace, fresh=fresh)
    _show(record, workplace)


def _show(record: Record, workplace: Workplace) -> None:
    """A run's own figures and where they lie, then the runs that it may be compared with."""
    from harness.analysis.comparison import comparable
    from harness.records import store
    from harness.report import formats
    from harness.report.outcome import own_lines

    results = workplace.results
    for line in own_lines(record, results):
        workplace.report.say(line)
    alike = comparable(record, store.read_all(results / "records"))
    formats.print_rich(alike, workplace.report.console)


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
    """Run a suite in its order, teachers before students; done runs reused, a crash stops one."""
    from rich.console import Console

    from harness.analysis.provenance import origin
    from harness.config import catalogue
    from harness.measure.environment import choose_device
    from harness.report import formats
    from harness.report.progress import Reporter
    from harness.runs.sweep import announce, planned_jobs
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
    if changes.get("seeds"):
        values["more_seeds"] = {}
    values["overrides"] = [*suite.overrides, *(overrides or ())]
    try:
        return type(suite).model_validate(values)
    except ValidationError as error:
        raise BenchError(f"suite {suite.name}: {explain(error)}.") from error


@app.command()
def table(
    records_: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RECORDS]...", help="Files or folders.", show_default="--results"),
    ] = None,
    format_: Annotated[Format, typer.Option("--format")] = "rich",
    per_class: Annotated[bool, typer.Option(help="IoU of every class.")] = False,
    published: Annotated[bool, typer.Option(help="Figures from the literature below.")] = False,
    aggregate: Annotated[
        bool, typer.Option("--aggregate", help="A table over all scenarios of a profile too.")
    ] = False,
    method: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    scenario: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    profile: Annotated[str | None, typer.Option(help="Only this.")] = None,
    student: Annotated[str | None, typer.Option(help="Only this.")] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Only what it asks for: its frozen teachers' own runs are left out."),
    ] = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
) -> None:
    """Compare records in tables; those that are not comparable never share one."""
    from rich.console import Console

    from harness.report import formats

    kept, count, where = select(
        records_,
        results,
        data_root,
        methods=method or (),
        scenarios=scenario or (),
        profile=profile,
        student=student,
        suite=suite,
    )
    if not kept:
        raise BenchError(
            f"no record to show: {count} found in {where}, none passes the filters; run "
            "`bench run` or `bench sweep` first, or name other files: results/records holds "
            "what this project published."
        )
    if format_ == "rich":
        formats.print_rich(
            kept, Console(), per_class=per_class, published=published, aggregate=aggregate
        )
        typer.echo(f"{len(kept)} of {count} records in {where}")
    else:
        print(
            formats.render(
                kept, format_, per_class=per_class, published=published, aggregate=aggregate
            )
        )
