"""How faithful the project is to the reference: every comparison, as a table.

Run from the checkout's root: python tests/fidelity.py > docs/fidelity.md
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # tests/harness would pass for the package of that name
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from golden import iteration, metric, networks, parts, schedule
from tabulate import tabulate

SECTIONS = {
    "Networks": networks.COMPARISONS,
    "Parts of the methods": parts.COMPARISONS,
    "Whole iterations": iteration.COMPARISONS,
    "Optimiser and schedule": schedule.COMPARISONS,
    "Metric": metric.COMPARISONS,
}

COMPARISONS = [comparison for section in SECTIONS.values() for comparison in section]

INTRODUCTION = """\
# Fidelity to the reference

Made by `python tests/fidelity.py > docs/fidelity.md`; the same comparisons are tests. The reference
is the public implementation of DAFormer (lhoyer/DAFormer at e6f6e041, Apache-2.0), run unmodified
on small random networks and inputs; `tests/data/golden/README.md` says what it left behind. Figures
below are of float32 on a CPU. A deviation is the largest absolute difference over the reference's
largest absolute value; for labels, masks and counts it is the share of entries that differ.
"""


def table() -> str:
    """Every comparison in Markdown: quantity, file, tolerance, deviation."""
    sections = []
    for title, comparisons in SECTIONS.items():
        rows = [
            [c.name, f"`{c.file}`", _figure(c.tolerance), _figure(c.deviation())]
            for c in comparisons
        ]
        headers = ["Quantity", "File", "Tolerance", "Largest deviation"]
        body = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
        sections.append(f"## {title}\n\n{body}\n")
    return "\n".join(sections)


def _figure(value: float) -> str:
    return f"{value:.0e}" if value else "0"


if __name__ == "__main__":
    torch.set_num_threads(1)
    quirks = (Path(__file__).parent / "golden" / "quirks.md").read_text(encoding="utf-8")
    print(f"{INTRODUCTION}\n{table()}\n{quirks}", end="")
