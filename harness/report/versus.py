"""Two methods side by side, as a terminal, Markdown or JSON shows them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from harness.analysis.head_to_head import HeadToHead, sentence
from harness.analysis.rows import ENOUGH_SEEDS
from harness.report.cells import difference_text, number
from harness.report.columns import Grid
from harness.report.formats import finite, markdown, print_grid
from harness.text import markdown_text, plain, plain_values

if TYPE_CHECKING:
    from rich.console import Console


def print_versus(result: HeadToHead, console: Console) -> None:
    """Print the sentence, then the table by class."""
    console.print(plain(sentence(result)), markup=False, highlight=False)
    console.print()
    print_grid(class_grid(result), console)


def as_markdown(result: HeadToHead) -> str:
    return f"{markdown_text(sentence(result))}\n\n{markdown(class_grid(result))}".rstrip()


def as_json(result: HeadToHead) -> str:
    """Figures unrounded, the sentence, and NaN as null."""
    values = {"sentence": sentence(result), **asdict(result)}
    values["difference"]["significant"] = result.difference.significant
    return json.dumps(plain_values(finite(values)), indent=1, ensure_ascii=False)


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
        return [
            f"Warning: n < {ENOUGH_SEEDS}: too few seeds to tell a difference from chance; run "
            "seeds 0, 1, 2."
        ]
    return [
        "[low, high] is the 95 % interval of that class alone, over seeds; ~ cannot be told from "
        f"chance: p >= 0.05, corrected over {tested} classes (Holm)."
    ]
