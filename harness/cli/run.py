"""The verbs of `bench` that run once and compare: run, table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.completion import (
    method_names,
    network_names,
    profile_names,
    scenario_names,
)
from harness.cli.grouped import examples
from harness.cli.options import (
    DEFAULT_PROFILE,
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
from harness.errors import BenchError, unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.config.planning import Plan
    from harness.records.schema import Record
    from harness.runs.workplace import Workplace

app = typer.Typer()


@app.command(
    epilog=examples(
        "bench run --method source_only --scenario gta2cs --profile tiny",
        "bench run --method dualkd --scenario gta2cs --teacher mini_l --seed 1",
        "bench run --method daformer --scenario gta2cs --data-root /data --dry-run",
    )
)
def run(
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The method; `bench list methods` lists them.",
            autocompletion=method_names,
        ),
    ],
    scenario: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Source and target data; `bench list scenarios` lists them.",
            autocompletion=scenario_names,
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Image sizes, schedule and default networks; `bench list profiles` lists them.",
            show_default=DEFAULT_PROFILE,
            autocompletion=profile_names,
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="The network that is trained and scored; see `bench list networks`.",
            show_default="the profile's",
            autocompletion=network_names,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="The teacher's network, for methods that have one.",
            show_default="that of its checkpoint, else one size up",
            autocompletion=network_names,
        ),
    ] = None,
    teacher_checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|RUN",
            help="The teacher's weights: a file, a run's folder, or the id of a run in --results.",
            show_default="trained on the source first",
        ),
    ] = None,
    teacher_init: Annotated[
        str | None,
        typer.Option(
            metavar=WEIGHTS,
            help="Weights that the teacher's encoder starts from.",
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
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Processes that train together, a device each; they share out batch_size.",
            show_default="the profile's: 1",
        ),
    ] = None,
    fresh: Fresh = False,
    keep_other_code: KeepOtherCode = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the run would cost and do; run nothing.")
    ] = False,
    format_: Annotated[
        Literal["text", "json"], typer.Option("--format", help="The form of --dry-run's answer.")
    ] = "text",
) -> None:
    """Train one method on one scenario, score it, and record the figures.

    A run that is done is shown. One that was cut short goes on at the stage, and in training at the
    step, that it had reached; --set checkpoint_every=STEPS says how often that is kept.
    """
    from rich.console import Console

    from harness.cli.dry_run import confirm_long_run
    from harness.config.planning import Request, resolve
    from harness.measure.environment import choose_device
    from harness.report.loggers import Logging, loggers
    from harness.report.outlasted import outlasted
    from harness.report.progress import Reporter, hashing_shown
    from harness.runs.group import carry_out, check_devices, dismiss
    from harness.runs.trained import tidy
    from harness.runs.workplace import Workplace, check_results, is_current, record_of
    from harness.training.distributed import asked, own_device, own_rank
    from harness.weights.find import find_checkpoint, network_of

    check_results(results)
    if teacher_checkpoint:
        found = find_checkpoint(teacher_checkpoint, results, option="--teacher-checkpoint")
        teacher_checkpoint = str(found.path)
        teacher = teacher or network_of(found)
    overrides = tuple(set_ or ())
    if devices or asked() > 1:
        overrides += (f"devices={devices or asked()}",)
    request = Request(
        method=method,
        scenario=scenario,
        profile=profile,
        student=student,
        teacher=teacher,
        teacher_checkpoint=teacher_checkpoint,
        teacher_init=teacher_init,
        init=init,
        seed=seed,
        overrides=overrides,
    )
    watching = loggers(log or ()) if own_rank() == 0 else []
    with hashing_shown():
        plan = resolve(request, data_root, device=device)
    console = Console(quiet=own_rank() > 0)
    if dry_run:
        from harness.cli.dry_run import show

        plain = resolve(
            Request(method=method, scenario=scenario, profile=profile), data_root, device=device
        )
        show(plan, plain, choose_device(device), results, format_)
        return
    if format_ != "text":
        raise BenchError(f"--format {format_}: it is for --dry-run; expected both.")
    report = Reporter(outlasted(console))
    logging = Logging(watching, report.say)
    chosen = choose_device(own_device(device))
    workplace = Workplace(results, chosen, report, keep_other_code, logging=logging)
    check_devices(plan.spec.profile.devices, workplace.device)
    record = None if fresh or own_rank() else record_of(plan, workplace)
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
                "device, or without the scores that score_every or second_split asks for: run "
                "again (--keep-other-code shows it instead)"
            )
        if own_rank() == 0:
            confirm_long_run(plan, workplace.device)
        with workplace.stop.listening():
            if plan.spec.profile.devices > asked():
                record = _on_devices(plan, workplace, device, fresh, log)
            else:
                with logging.run(plan.spec, results):
                    record = carry_out(plan, workplace, fresh=fresh)
                    if record:
                        logging.scored(record)
        if record:  # of several processes one has it
            _show(record, workplace)
        return
    dismiss(workplace.device)
    _show(record, workplace)


def _on_devices(
    plan: Plan, workplace: Workplace, device: str | None, fresh: bool, log: Sequence[str] | None
) -> Record | None:
    """Carry out a plan in a process a device. What goes wrong there, they have said."""
    from harness.runs.group import run_on_devices
    from harness.runs.launchers import Task
    from harness.runs.workplace import record_of

    task = Task.of(
        plan,
        workplace.results,
        device=device,
        fresh=fresh,
        keep_other_code=workplace.keep_other_code,
        log=log or [],
    )
    if run_on_devices(task, plan.spec.profile.devices, workplace.stop):
        raise typer.Exit(2)
    return record_of(plan, workplace)


def _show(record: Record, workplace: Workplace) -> None:
    """The runs that a run may be compared with; last its own figures, its files and what next."""
    from harness.analysis.comparison import comparable
    from harness.records import store
    from harness.report import formats
    from harness.report.outcome import own_lines

    results = workplace.results
    try:
        alike = comparable(record, store.read_all(results / "records"))
        formats.print_rich(alike, workplace.report.console)
    except Exception as error:  # of whatever lies there beside it: the run itself is done
        workplace.report.say(f"the table cannot be shown: {unexpected(error)}")
    for line in own_lines(record, results):
        workplace.report.say(line)
