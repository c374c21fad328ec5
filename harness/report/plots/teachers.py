"""The student against its frozen teacher's size, and the teacher itself."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from harness.analysis.comparison import Table
from harness.analysis.rows import BASELINE, Row, with_length
from harness.errors import BenchError
from harness.report.plots.place import name_points
from harness.report.plots.style import COLOURS, GREY, colours_of, heading, new_figure, short
from harness.report.plots.trade_off import plain_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.records.schema import Record


class Taught(NamedTuple):
    """A row with a frozen teacher whose size its records say."""

    row: Row
    parameters_m: float  # of its frozen teachers together
    lesson: str  # the row without its teacher: what one marker of the plot stands for


def draw(table: Table, width: float) -> Figure:
    """mIoU of student and teacher by the teacher's parameters; BenchError where no row has one."""
    taught = [
        Taught(row, size, f"{row.label} of {row.student}")
        for row, runs in zip(table.rows, table.runs.values(), strict=True)
        if (size := _teachers_size(runs))
    ]
    if not taught:
        raise BenchError(
            f"{table.heading}: no record of a method with a frozen teacher; run one, such as "
            "dualkd, with teachers of several sizes (--teacher NETWORK)."
        )
    lessons = list(dict.fromkeys(one.lesson for one in taught))
    figure = new_figure(width, width * (0.66 + 0.055 * len(lessons)))  # a line of the legend each
    axes = figure.subplots()
    axes.set_xscale("log")
    millions = [t.parameters_m for t in taught]
    beside = max((max(millions) / min(millions)) ** 0.15, 1.1)  # of one size, too
    axes.set_xlim(min(millions) / beside, max(millions) * beside)
    for lesson, (colour, marker) in colours_of(lessons).items():
        line = sorted((t for t in taught if t.lesson == lesson), key=lambda t: t.parameters_m)
        name = line[0].row.label if len({t.row.student for t in taught}) == 1 else lesson
        axes.errorbar(
            [t.parameters_m for t in line],
            [t.row.miou.mean for t in line],
            [t.row.miou.sd if t.row.miou.n > 1 else 0 for t in line],
            color=colour, marker=marker, ms=4, capsize=1.5, ls="",
            label=f"student: {short(name, 40)}",
        )  # fmt: skip
        # In the student's colour: teachers of one network differ in schedule, start or norms.
        known = [(t.parameters_m, t.row.teacher_miou.mean) for t in line if t.row.teacher_miou]
        axes.plot([x for x, _ in known], [y for _, y in known], "*", color=colour, ms=6, ls="")
    own = [(t, t.row.teacher_miou.mean) for t in taught if t.row.teacher_miou]
    stars = {
        t.row.teachers: (t.parameters_m, miou) for t, miou in sorted(own, key=lambda pair: pair[1])
    }  # the best of each network has its name
    if stars:
        label = "its frozen teacher itself, in the student's colour"
        axes.plot([], [], "*", color=GREY, ms=6, ls="", label=label)
    floors = {(r.student, r.length): r for r in table.rows if r.method == BASELINE}
    for student, length in dict.fromkeys((t.row.student, t.row.length) for t in taught):
        if floor := floors.get((student, length)):
            name = with_length(BASELINE, length)
            axes.axhline(floor.miou.mean, color=COLOURS[-1], lw=0.8, ls=":",
                         label=f"{name}, {short(student, 20)}")  # fmt: skip
    plain_ticks(axes, millions)
    axes.margins(y=0.14)
    axes.set_xlabel("frozen teacher's parameters, millions (log)")
    axes.set_ylabel(f"mIoU % ({table.scenario.convention}), ± sd")
    axes.grid(color="#eeeeee", lw=0.5)
    axes.set_axisbelow(True)
    heading(figure, table.heading)
    figure.legend(loc="outside lower left", ncols=1)
    students = [(t.parameters_m, t.row.miou.mean) for t in taught]
    names = [short(" + ".join(network), 24) for network in stars]
    name_points(axes, list(stars.values()), names, others=students)
    return figure


def _teachers_size(runs: list[Record]) -> float | None:
    """Millions of parameters of a run's frozen teachers, mean over runs; None without one."""
    sizes = [sum(t.parameters_m for t in r.cost.teachers) for r in runs if r.cost]
    known = [size for size in sizes if size]
    return fmean(known) if known else None
