"""`bench table`: records as comparison tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.grouped import examples
from harness.cli.options import (
    DataRoot,
    Methods,
    Plugins,
    ProfileName,
    Records,
    Results,
    Scenarios,
    Student,
    SuiteName,
)
from harness.cli.selection import refuse_failed, select
from harness.errors import BenchError

if TYPE_CHECKING:
    from harness.records.schema import Record

app = typer.Typer()

#: What --columns takes: the keys of `harness.report.columns.COLUMNS`, whose import takes long.
COLUMN_NAMES = (
    "method, student, teacher, miou, gain, gain_seconds, seconds, train_speed, memory, other_miou, "
    "ema, second, second_ema, infer_speed, params, training_params, teacher_miou, teacher_seconds"
)
Format = Literal["rich", "markdown", "latex", "csv", "json", "html"]
Rule = Literal["last", "entropy", "infomax", "snd", "agreement", "oracle", "all"]


@app.command(
    epilog=examples(
        "bench table",
        "bench table results/records --scenario gta2cs --profile tiny",
        "bench table --columns method,miou,gain --sort miou",
        "bench table --format csv --by-seed > runs.csv",
    )
)
def table(
    records_: Records = None,
    format_: Annotated[
        Format, typer.Option("--format", help="The form of the tables; rich is for a terminal.")
    ] = "rich",
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Show the IoU of every class too.")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Show figures from the literature too.")
    ] = False,
    aggregate: Annotated[
        bool, typer.Option("--aggregate", help="Show a table over all scenarios of a profile too.")
    ] = False,
    by_seed: Annotated[
        bool,
        typer.Option("--by-seed", help="With --format csv: a line a run, not one over its seeds."),
    ] = False,
    selection: Annotated[
        Rule,
        typer.Option(
            help="The checkpoint that counts, of runs scored while they learned; all: rules "
            "side by side, and how well validators order checkpoints."
        ),
    ] = "last",
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Show these columns alone, in this order: {COLUMN_NAMES}, a metric's name, "
            "such as pixel_accuracy, or a label-free figure: entropy, infomax, snd, agreement.",
            show_default="what the table needs",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Put the best row of this column of figures first.",
            show_default="by method",
        ),
    ] = None,
    precision: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, max=6, help="Decimals of scores and gains.", show_default="1"
        ),
    ] = None,
    method: Methods = None,
    scenario: Scenarios = None,
    profile: ProfileName = None,
    student: Student = None,
    suite: SuiteName = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
) -> None:
    """Compare records in tables.

    Records that are not comparable never share a table.
    """
    from rich.console import Console

    from harness.report import formats
    from harness.report.columns import column_keys

    if by_seed and format_ != "csv":
        raise BenchError(f"--by-seed: {format_} has a row a method; expected --format csv with it.")
    wanted = column_keys(columns, "--columns") if columns else []
    (sort_by,) = column_keys(sort, "--sort")[:1] if sort else [None]
    kept, count, where = select(
        records_,
        results,
        data_root,
        methods=method,
        scenarios=scenario,
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
    if format_ == "csv":  # which holds done runs alone
        refuse_failed(kept, where)
    if selection == "all":
        if per_class or published or aggregate or columns or sort or precision is not None:
            raise BenchError(
                "--selection all has columns and rows of its own; expected none of --per-class, "
                "--published, --aggregate, --columns, --sort and --precision beside it."
            )
        _show_selections(kept, format_)
        return
    if selection != "last":
        from harness.analysis.selection import selected

        if per_class:
            raise BenchError(
                "--per-class: known of the last iteration only; expected no --selection."
            )
        kept, without = selected(kept, selection)
        if without:
            typer.echo(f"left out: {without} without a curve for {selection}, or labels", err=True)
    if format_ == "rich":
        formats.print_rich(
            kept,
            Console(),
            per_class=per_class,
            published=published,
            aggregate=aggregate,
            columns=wanted,
            sort=sort_by,
            precision=precision,
        )
        typer.echo(f"{len(kept)} of {count} records in {where}")
    else:
        print(
            formats.render(
                kept,
                format_,
                per_class=per_class,
                published=published,
                aggregate=aggregate,
                columns=wanted,
                sort=sort_by,
                by_seed=by_seed,
                precision=precision,
            )
        )
    if aggregate and (missing := _nothing_to_aggregate(kept)):
        typer.echo(missing, err=True)


def _nothing_to_aggregate(records: list[Record]) -> str:
    """Why there is no table over scenarios, and what to do; empty where there is one."""
    from harness.analysis.aggregate import aggregates
    from harness.analysis.comparison import comparison

    tables = comparison(records)
    if aggregates(tables):
        return ""
    found = dict.fromkeys(f"{t.scenario.name} (profile {t.profile_name})" for t in tables if t.rows)
    return (
        "--aggregate: no table over scenarios. It needs runs of two scenarios or more with one "
        f"profile and equal settings; found {', '.join(found) or 'no done run'}. Run the same "
        "methods on another scenario too, or leave out filters such as --scenario."
    )


def _show_selections(records: list[Record], format_: str) -> None:
    from rich.console import Console

    from harness.report.selection import print_selections, render_selections

    if format_ == "rich":
        print_selections(records, Console())
    else:
        print(render_selections(records, format_))
