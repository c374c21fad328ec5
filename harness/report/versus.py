"""Rows of two methods side by side, as a terminal, Markdown or JSON shows them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.analysis.head_to_head import (
    HeadToHead,
    cost_ratios,
    has_ema_teachers,
    head_to_head,
    sentence,
)
from harness.analysis.match_ups import MatchUp
from harness.analysis.provenance import mixture
from harness.analysis.rows import ENOUGH_SEEDS
from harness.analysis.statistics import corrected
from harness.records.schema import Record
from harness.report.cells import NONE, difference_text, number
from harness.report.columns import Grid
from harness.report.formats import finite, markdown, print_grid
from harness.text import markdown_text, plain, plain_values

Network = Literal["student", "ema", "both"]
Format = Literal["rich", "markdown", "json", "sentence"]

_TOO_FEW = (
    f"Warning: n < {ENOUGH_SEEDS}: too few seeds to tell a difference from chance; run seeds "
    "0, 1, 2."
)


@dataclass(frozen=True)
class Compared:
    """A match-up by the scores of its students, of its EMA teachers, or of both."""

    match_up: MatchUp
    networks: dict[str, HeadToHead]  # by column

    @property
    def first(self) -> HeadToHead:
        return next(iter(self.networks.values()))


def show(
    found: Sequence[MatchUp], others: Sequence[Record], network: Network | None, form: Format
) -> None:
    """Print one comparison by class, or several as a table of a line each."""
    in_table = len(found) > 1 or network == "both"
    shown = network or ("both" if in_table else "student")
    compared = [_compared(match_up, others, shown) for match_up in found]
    results = [result for one in compared for result in one.networks.values()]
    if form == "sentence":
        for result in results:
            where = f"{result.scenario}: " if len(found) > 1 else ""
            print(plain(where + sentence(result)))
    elif form == "json":
        values = [_values(result) for result in results]
        print(json.dumps(values if in_table else values[0], indent=1, ensure_ascii=False))
    else:
        said = "" if in_table else sentence(results[0])
        grid = table(compared) if in_table else class_grid(results[0])
        if form == "markdown":
            print(f"{markdown_text(said)}\n\n{markdown(grid)}".strip())
            return
        from rich.console import Console

        console = Console()
        if said:
            console.print(plain(said), markup=False, highlight=False)
            console.print()
        print_grid(grid, console, "--format markdown")


def _compared(match_up: MatchUp, others: Sequence[Record], network: Network) -> Compared:
    networks = {}
    if network != "ema":
        networks["students"] = head_to_head(match_up, others)
    if network == "ema" or (network == "both" and has_ema_teachers(match_up)):
        networks["EMA teachers"] = head_to_head(match_up, others, "ema_teacher")
    return Compared(match_up, networks)


def _values(result: HeadToHead) -> dict[str, Any]:
    """Figures unrounded, the sentence, and NaN as null."""
    values = {"sentence": sentence(result), **asdict(result)}
    values["difference"]["significant"] = result.difference.significant
    return plain_values(finite(values))


def table(compared: Sequence[Compared]) -> Grid:
    """A line a comparison: where it is, what one row scores over another, at what cost."""
    found = [one.match_up for one in compared]
    places = {name: [m.where[name] for m in found] for name in found[0].where}
    columns = {n: cells for n, cells in places.items() if n == "scenario" or len(set(cells)) > 1}
    columns["compared"] = [f"{m.labels[1]} over {m.labels[0]}" for m in found]
    tested = 0
    for network in dict.fromkeys(name for one in compared for name in one.networks):
        results = [one.networks.get(network) for one in compared]
        gains = corrected([r.difference if r else None for r in results], ENOUGH_SEEDS)
        columns[network] = [difference_text(gain) for gain in gains]
        tested = max(tested, sum(gain is not None and gain.tested for gain in gains))
    columns["seeds"] = [_sizes(one.first) for one in compared]
    ratios = [cost_ratios(one.first) for one in compared]
    columns["training time"] = [_times(time, ".2g") for time, _ in ratios]
    columns["memory"] = [_times(memory, ".3g") for _, memory in ratios]
    profile = "" if "profile" in columns else f", profile {places['profile'][0]}"
    return Grid(
        heading=f"Differences in mIoU %{profile}",
        columns=list(columns),
        rows=[list(row) for row in zip(*columns.values(), strict=True)],
        notes=[*_table_notes(compared, tested), *mixture(_by_row(found, columns))],
        text_columns=frozenset([*places, "compared"]),
    )


def _by_row(found: Sequence[MatchUp], shown: Collection[str]) -> dict[str, list[Record]]:
    """The runs of each row, of all scenarios together."""
    rows: dict[str, dict[str, Record]] = defaultdict(dict)
    for m in found:
        place = [m.where[name] for name in ("profile", "settings") if name in shown]
        for label, runs in zip(m.labels, (m.a, m.b), strict=True):
            name = ", ".join(filter(None, [label, *place]))
            rows[name].update({run.run_id: run for run in runs})
    return {name: list(runs.values()) for name, runs in rows.items()}


def _sizes(result: HeadToHead) -> str:
    return ", ".join(map(str, dict.fromkeys((len(result.b.seeds), len(result.a.seeds)))))


def _times(ratio: float | None, style: str) -> str:
    return NONE if ratio is None else f"{ratio:{style}} times"


def _table_notes(compared: Sequence[Compared], tested: int) -> list[str]:
    corrected_over = f"corrected over the {tested} of its column (Holm)"
    notes = [
        "[low, high] is the 95 % interval of that comparison alone, over seeds; ~ cannot be told "
        f"from chance: {f'p >= 0.05, {corrected_over}' if tested else 'of too few seeds'}.",
        "training time and memory are of the one over the other's, frozen teachers' training "
        f"included; {NONE}: of other machines, or not known.",
        "One alone is shown by class: --scenario, --length, --student, --teacher, "
        "METHOD:KEY=VALUE or runs name it.",
    ]
    few = any(one.first.difference.n < ENOUGH_SEEDS for one in compared)
    return [*([_TOO_FEW] if few else []), *notes]


def class_grid(result: HeadToHead) -> Grid:
    """IoU by class of both, and the difference with its interval."""
    a, b = result.a, result.b
    return Grid(
        heading=f"IoU % by class, mean over seeds: {result.scenario}, profile {result.profile}",
        columns=["class", a.label, b.label, "difference"],
        rows=[
            [
                name,
                number(a.iou.get(name), ".1f"),
                number(b.iou.get(name), ".1f"),
                difference_text(gain),
            ]
            for name, gain in result.classes.items()
        ],
        notes=[*_notes(result), *result.notes],
    )


def _notes(result: HeadToHead) -> list[str]:
    n, tested = result.difference.n, sum(d is not None for d in result.classes.values())
    if n < ENOUGH_SEEDS:
        return [_TOO_FEW]
    return [
        "[low, high] is the 95 % interval of that class alone, over seeds; ~ cannot be told from "
        f"chance: p >= 0.05, corrected over {tested} classes (Holm)."
    ]
