"""The verbs of `bench` that draw what records say: plot, report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.grouped import examples
from harness.cli.options import (
    DataRoot,
    Device,
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
    from harness.analysis.comparison import Table
    from harness.records.schema import Record
    from harness.report.plots.kinds import Named
    from harness.report.plots.qualitative import Example
    from harness.weights.qualitative import Gallery

app = typer.Typer()

Kind = Literal[
    "cost", "speed", "inference", "gain", "curves", "classes", "confusion", "qualitative",
    "teachers",
]  # fmt: skip
Images = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="Validation images of a qualitative figure, counted from 0.",
        show_default="three, spread over the set",
    ),
]


@app.command(
    epilog=examples(
        "bench plot gain results/records --out gain.pdf",
        "bench plot curves --method daformer --out curves.png",
    )
)
def plot(
    kind: Annotated[Kind, typer.Argument(help="Which figure; see above.")],
    records_: Records = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="PNG, SVG or PDF, by its ending. Where there are several figures, each file's "
            "name says which it is.",
            show_default="KIND.png",
        ),
    ] = None,
    width: Annotated[
        Literal["column", "page"], typer.Option(help="Of a paper of two columns: 8.5 or 17.5 cm.")
    ] = "column",
    method: Methods = None,
    scenario: Scenarios = None,
    profile: ProfileName = None,
    student: Student = None,
    suite: SuiteName = None,
    images: Images = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    device: Device = None,
) -> None:
    """Draw a figure of records for a paper: one a table, never of what is not comparable.

    cost: mIoU against training seconds. speed, inference: mIoU against images a second. gain: over
    source_only, with intervals. curves: losses and speed over training, a figure a method. classes:
    IoU by class. confusion: what classes are taken for, a figure a method. teachers: student
    against its frozen teacher's size. qualitative: image, label and predictions, which needs
    weights and data.
    """
    from harness.analysis.comparison import comparison
    from harness.files import check_output_file
    from harness.report.plots.kinds import figures
    from harness.report.plots.style import WIDTHS, save, styled, suffix_of

    target = out or Path(f"{kind}.png")
    suffix_of(target)
    check_output_file("--out", target)
    kept, count, where = select(
        records_, results, data_root, methods=method, scenarios=scenario,
        profile=profile, student=student, suite=suite,
    )  # fmt: skip
    tables = comparison(_or_refuse(kept, count, where))
    with styled():
        if kind == "qualitative":
            drawn = _qualitative(tables, images, results, data_root, device, WIDTHS[width])
        else:
            drawn = figures(kind, tables, WIDTHS[width], results)
        for name, figure in drawn:
            named = target.with_name(f"{target.stem}-{name}{target.suffix}")
            path = named if len(drawn) > 1 else target
            save(figure, path)
            typer.echo(str(path))


def _or_refuse(kept: list[Record], count: int, where: str) -> list[Record]:
    if any(record.state == "done" for record in kept):
        return kept
    refuse_failed(kept, where)
    raise BenchError(
        f"no done run to draw: {count} records found in {where}, {len(kept)} pass the filters; run "
        "`bench run` or `bench sweep` first, or name other files: results/records holds what this "
        "project published."
    )


def _qualitative(
    tables: list[Table],
    images: str | None,
    results: Path,
    data_root: Path | None,
    device: str | None,
    width: float,
) -> list[Named]:
    """A figure a table whose weights and data are there. BenchError where none has them."""
    from harness.report.plots import qualitative
    from harness.report.plots.kinds import Named, stems

    names = {id(table): stem for table, stem in zip(tables, stems(tables), strict=True)}
    galleries, left_out = _galleries(tables, images, results, data_root, device)
    if not galleries:
        raise BenchError(left_out[0])
    for reason in left_out:
        typer.echo(f"left out: {reason}", err=True)
    return [
        Named(names[id(table)], qualitative.draw(made.examples, table.heading, width))
        for table, made in galleries
    ]


def _galleries(
    tables: list[Table],
    images: str | None,
    results: Path,
    data_root: Path | None,
    device: str | None,
) -> tuple[list[tuple[Table, Gallery]], list[str]]:
    """Predictions for each table whose weights and data are there, and why others have none."""
    from harness.measure.environment import choose_device
    from harness.weights.qualitative import gallery

    indices, torch_device = _indices(images), choose_device(device)
    galleries: list[tuple[Table, Gallery]] = []
    left_out = []
    for table in tables:
        if not table.runs:
            continue
        try:
            made = gallery(table, results, data_root, indices, torch_device)
        except BenchError as error:
            left_out.append(str(error))
            continue
        left_out += made.left_out
        galleries.append((table, made))
    return galleries, left_out


def _indices(images: str | None) -> list[int] | None:
    if images is None:
        return None
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", images):
        raise BenchError(f"--images {images}: expected numbers from 0, such as 0,12,40.")
    return [int(number) for number in images.split(",")]


@app.command(
    epilog=examples("bench report", "bench report results/records --suite main --out report")
)
def report(
    records_: Records = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="New, empty, or an earlier report.")
    ] = Path("report"),
    method: Methods = None,
    scenario: Scenarios = None,
    profile: ProfileName = None,
    student: Student = None,
    suite: SuiteName = None,
    with_images: Annotated[
        bool,
        typer.Option(
            "--with-images", help="Predict validation images of each row, from its weights."
        ),
    ] = False,
    images: Images = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    device: Device = None,
) -> None:
    """Write records as a web site that needs no network: open DIR/index.html.

    Tables to sort, figures, classes, and a page a run: how it is made again, its curves, scores,
    confusion, cost, settings and machine, with --with-images its predictions too.
    """
    from rich.console import Console

    from harness.analysis.comparison import comparison
    from harness.files import check_output_folder
    from harness.report.progress import Reporter
    from harness.report.site.build import build

    check_output_folder("--out", out)
    kept, count, where = select(
        records_, results, data_root, methods=method, scenarios=scenario,
        profile=profile, student=student, suite=suite,
    )  # fmt: skip
    _or_refuse(kept, count, where)
    examples = {}
    if with_images or images:
        examples = _examples(comparison(kept), images, results, data_root, device)
    reporter = Reporter(Console())
    with reporter.counting("writing pages") as progress:
        build(kept, out, results=results, examples=examples, progress=progress)
    reporter.say(f"{out / 'index.html'}: {len(kept)} records of {where}")


def _examples(
    tables: list[Table],
    images: str | None,
    results: Path,
    data_root: Path | None,
    device: str | None,
) -> dict[str, list[Example]]:
    """By run, the images with its prediction; what has no weights or data is said and left out."""
    from dataclasses import replace

    galleries, left_out = _galleries(tables, images, results, data_root, device)
    for reason in left_out:
        typer.echo(f"without images: {reason}", err=True)
    return {
        run_id: [replace(one, predictions={row: one.predictions[row]}) for one in made.examples]
        for _, made in galleries
        for row, run_id in made.runs.items()
    }
