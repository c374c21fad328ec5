"""`bench claims`: what records let one say, in sentences."""

from __future__ import annotations

import math
from enum import Enum
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

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
from harness.cli.selection import select
from harness.errors import BenchError

if TYPE_CHECKING:
    from harness.records.schema import Record

app = typer.Typer()

WIDTH = 120


class About(str, Enum):
    """The questions of harness.analysis.claims."""

    GAINS = "gains"
    POWER = "power"
    TOGETHER = "together"
    TEACHERS = "teachers"
    COMBINED = "combined"


@app.command(
    epilog=examples("bench claims results/records", "bench claims results/records --about gains")
)
def claims(
    records_: Records = None,
    about: Annotated[
        list[About] | None,
        typer.Option(
            metavar="QUESTION",
            help="Answer only this question: gains, power, together, teachers or combined. May be "
            "given several times.",
            show_default="all",
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
    """Say what records let one say, in sentences, each with its interval and n, as Markdown.

    Tested and corrected as the tables of the same records are.
    """
    from harness.analysis.claims import claims as made_of

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
            f"no record to speak of: {count} found in {where}, none passes the filters; run "
            "`bench run` or `bench sweep` first, or name other files."
        )
    asked = [question.value for question in about or About]
    said = [claim for claim in made_of(kept) if claim.about in {*asked, None}]
    if not any(claim.about for claim in said):
        raise BenchError(
            f"{len(kept)} of {count} records in {where} let one say nothing about "
            f"{', '.join(asked)}; expected a method and source_only on three seeds each, in one "
            f"table{_without_score(kept)}."
        )
    for place, of_place in groupby(said, key=lambda claim: claim.place):
        print(f"{place}:\n")
        for claim in of_place:
            print(_bullet(claim.text))
        print()


def _without_score(records: list[Record]) -> str:
    """Which runs nothing is said of for want of a score, and what to do; empty without any."""
    from harness.records.schema import unlabelled

    broken = [r for r in records if r.metrics and not math.isfinite(r.metrics.student.miou)]
    if not broken:
        return ""
    if all(map(unlabelled, broken)):
        return f". The target of {len(broken)} of them has no labels to score on"
    methods = ", ".join(dict.fromkeys(record.spec.method for record in broken))
    return f". Runs whose mIoU is no number: {len(broken)}, of {methods}; run them again"


def _bullet(text: str) -> str:
    """As Markdown, in lines that a README may have."""
    return fill(
        text,
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
