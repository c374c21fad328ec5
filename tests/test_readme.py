"""What the README shows must work as shown."""

from __future__ import annotations

import re
import sys

import pytest
from bench_cli import QUICK, bench
from documented import ROOT, blocks, page

from harness import records
from harness.tables import render
from methods import registry
from methods.testing import cases

README = page("README.md")


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The README's method in a module of its own, known as an entry point would make it."""
    (code,) = blocks(README, "python")
    (tmp_path / "my_minent.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.BUILT_IN, "minent_example", "my_minent:MinEnt")
    yield code
    sys.modules.pop("my_minent", None)


def test_the_example_is_25_lines_of_code(example):
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 25


def test_the_example_trains_and_is_listed(example, tmp_path):
    outcome = bench(
        "run", "--method", "minent_example", "--scenario", "gta2cs", "--results", tmp_path,
        "--set", "lambda_ent=0.5", *QUICK,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "minent_example" in outcome.out
    assert "entropy" in outcome.out
    listed = bench("list", "methods").out
    assert "make the student sure of itself" in listed
    assert "lambda_ent" in bench("info", "minent_example").out


def test_the_example_keeps_to_the_contract(example):
    for case in cases(registry.load("minent_example"), networks=["test_mit"]):
        case.run()


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


@pytest.mark.parametrize("name", ["tiny", "camvid"])
def test_the_tables_are_those_of_the_records(name):
    """The README's rows are in the tables, and the tables are what the records make."""
    made = (ROOT / f"results/tables/{name}.md").read_text(encoding="utf-8")
    scenarios = [s.removesuffix("`") for s in re.findall(r"--scenario (\S+)", made)]
    kept = [
        r
        for r in records.read_all(ROOT / "results/records")
        if r.spec.scenario.name in scenarios and r.spec.student == "mini_s"
    ]
    assert made.partition("\n\n")[2].strip() == render(kept, "markdown").strip()
    rows = [line for line in made.splitlines() if re.match(r"\| *(daformer|dualkd|oracle)\b", line)]
    assert len(rows) == 6
    assert name != "tiny" or all(row in README for row in rows)
