"""The verbs of `bench` that run once and compare: run, table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.options import (
    WEIGHTS,
    DataRoot,
    Device,
    Fresh,
    KeepOtherCode,
    Log,
    Overrides,
    Plugins,
    Results,
    Seed,
)
from harness.cli.selection import select
from harness.errors import BenchError, unexpected

if TYPE_CHECKING:
    from harness.records.schema import Record
    from harness.runs.workplace import Workplace

app = typer.Typer()

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
    seed: Seed = 0,
    set_: Overrides = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    log: Log = None,
    device: Device = None,
    fresh: Fresh = False,
    keep_other_code: KeepOtherCode = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved run and its cost, do nothing.")
    ] = False,
) -> None:
    """Train one method on one scenario, score, measure and record it, and show the figures.

    A run that is done is shown; one that was cut short goes on at the stage, and in training at
    the step, that it had reached. --set checkpoint_every says how often that is kept.
    """
    from rich.console import Console

    from harness.config.planning import Request, resolve
    from harness.measure.environment import choose_device
    from harness.report.loggers import Logging, loggers
    from harness.report.progress import Reporter, hashing_shown
    from harness.runs.run import run as carry_out
    from harness.runs.trained import tidy
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
    watching = loggers(log or ())
    with hashing_shown():
        plan = resolve(request, data_root)
    console = Console()
    if dry_run:
        from harness.runs.estimate import show_estimate

        show_estimate(plan, choose_device(device), console)
        return
    report = Reporter(console)
    logging = Logging(watching, report.say)
    workplace = Workplace(results, choose_device(device), report, keep_other_code, logging=logging)
    record = None if fresh else record_of(plan, workplace)
    if record and is_current(record, plan, workplace):
        tidy(workplace.weights(plan.spec.weights_id), record.run_id)
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
        with workplace.stop.listening(), logging.run(plan.spec, results):
            record = carry_out(plan, workplace, fresh=fresh)
            logging.scored(record)
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
    try:
        alike = comparable(record, store.read_all(results / "records"))
        formats.print_rich(alike, workplace.report.console)
    except Exception as error:  # of whatever lies there beside it: the run itself is done
        workplace.report.say(f"the table cannot be shown: {unexpected(error)}")


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
