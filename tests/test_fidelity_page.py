"""docs/fidelity.md is of today's comparisons, and profiles set what it says they set."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fidelity import COMPARISONS, INTRODUCTION

from harness.config import catalogue
from methods import registry

ROOT = Path(__file__).parents[1]
QUIRKS = (ROOT / "tests" / "golden" / "quirks.md").read_text(encoding="utf-8")

#: A row's methods and targets, by a word of its first cell.
METHODS = {"FDA": "fda", "AdaptSegNet": "adaptsegnet", "DACS": "dacs", "MIC": "mic"}
ADVERSE, CAMVID = ("acdc", "darkzurich"), ("camvid",)


def test_the_page_names_every_comparison_and_quirk():
    page = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    assert page.startswith(INTRODUCTION)
    assert page.endswith(QUIRKS)
    lines = [line for line in page.splitlines() if ".npz`" in line or ".json` " in line]
    rows = [line.split("|")[1].strip() for line in lines]
    assert rows == [comparison.name for comparison in COMPARISONS]


def rows_with_settings() -> list[list[str]]:
    """Cells of the rows of the last table that say what profiles set."""
    table = [line.split("|")[1:-1] for line in QUIRKS.splitlines() if line.startswith("| ")]
    start = next(i for i, cells in enumerate(table) if cells[0].strip() == "The authors")
    return [[cell.strip() for cell in cells] for cells in table[start + 1 :] if "=" in cells[1]]


def settings(cell: str) -> dict[str, Any]:
    pairs = re.findall(r"`(\w+)=(\w[\w.]*)`", cell)
    return {name: json.loads(value) for name, value in pairs}


def rows_by_profile() -> list[Any]:
    """Each profile of papers with the rows said of it, which are all that name no other."""
    return [
        pytest.param(name, cells, id=f"{name}-{cells[0][:30]}")
        for name, other in (("paper", "paper_hr"), ("paper_hr", "paper"))
        for cells in rows_with_settings()
        if f"in `{other}`" not in cells[1].partition(";")[0]
    ]


@pytest.mark.parametrize(("name", "cells"), rows_by_profile())
def test_profiles_of_papers_set_what_the_page_says(name, cells):
    authors, here, default, _ = cells
    profile = catalogue.profile(name)
    targets = ADVERSE if "ACDC" in authors else CAMVID if "CamVid" in authors else ("cityscapes",)
    method = next((METHODS[word] for word in METHODS if word in authors), "daformer")
    fields = registry.load(method).Config.model_fields
    for setting, value in settings(here).items():
        if setting in fields:
            assert {catalogue.knobs_for(profile, target)[setting] for target in targets} == {value}
        else:
            assert getattr(profile, setting) == value
    for setting, value in settings(default).items():
        assert fields[setting].default == value


def test_there_are_such_rows():
    assert len(rows_with_settings()) == 8
