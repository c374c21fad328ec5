"""A suite's runs as matrices: a scenario each, a row a method, a column a seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class RunCell:
    """One run and what its cell says."""

    scenario: str
    row: str
    seed: int
    text: str


def print_matrices(cells: Iterable[RunCell], title: str, console: Console) -> None:
    """Print a matrix a scenario; rows and scenarios in the order in which they come."""
    scenarios: dict[str, list[RunCell]] = {}
    for cell in cells:
        scenarios.setdefault(cell.scenario, []).append(cell)
    for scenario, its_cells in scenarios.items():
        seeds = sorted({cell.seed for cell in its_cells})
        table = Table(title=escape(f"{title}, {scenario}"), title_justify="left")
        table.add_column("")
        for seed in seeds:
            table.add_column(f"seed {seed}", justify="right")
        for row in dict.fromkeys(cell.row for cell in its_cells):
            texts = {cell.seed: cell.text for cell in its_cells if cell.row == row}
            table.add_row(escape(row), *(escape(texts.get(seed, "")) for seed in seeds))
        console.print(table)
