"""docs/fidelity.md is of today's comparisons."""

from __future__ import annotations

from pathlib import Path

from fidelity import COMPARISONS, INTRODUCTION

ROOT = Path(__file__).parents[1]


def test_the_page_names_every_comparison_and_quirk():
    page = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    assert page.startswith(INTRODUCTION)
    assert page.endswith((ROOT / "tests" / "golden" / "quirks.md").read_text(encoding="utf-8"))
    lines = [line for line in page.splitlines() if ".npz`" in line or ".json` " in line]
    rows = [line.split("|")[1].strip() for line in lines]
    assert rows == [comparison.name for comparison in COMPARISONS]
