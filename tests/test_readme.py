"""What the README shows must work as shown."""

from __future__ import annotations

import re
import shlex
import sys
from collections import defaultdict

import pytest
from bench_cli import QUICK, bench
from documented import ROOT, blocks, page

from harness.analysis.comparison import comparison
from harness.analysis.rows import BASELINE, ORACLE
from harness.analysis.statistics import summary
from harness.records import store
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
    assert "make the student confident" in listed
    assert "lambda_ent" in bench("info", "minent_example").out


def test_the_example_keeps_to_the_contract(example):
    for case in cases(registry.load("minent_example"), networks=["test_mit"]):
        case.run()


@pytest.mark.parametrize("path", sorted((ROOT / "results/tables").rglob("*.md")), ids=str)
def test_a_table_is_what_its_command_makes_of_the_records(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "160")
    first, _, made = path.read_text(encoding="utf-8").partition("\n\n")
    made_by = re.fullmatch(r"Made by `bench (table .*)`\.", first)
    assert made_by, first
    assert printed(made_by[1]) == made.strip()


def printed(command: str) -> str:
    """What `bench` prints, `$(cat FILE)` replaced as a shell would."""
    command = re.sub(r"\$\(cat (\S+)\)", lambda m: (ROOT / m[1]).read_text("utf-8"), command)
    outcome = bench(*shlex.split(command))
    assert outcome.code == 0, outcome.err
    return outcome.out.strip()


def test_the_readme_has_120_lines_and_its_tables_are_what_their_commands_make(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert len(README.splitlines()) <= 120
    shown = re.findall(r"<!-- bench (table .*?) -->\n(.*?)\n<!-- /bench table -->", README, re.S)
    assert len(shown) == README.count("<!-- bench table") == 1
    for command, rows in shown:
        assert rows.splitlines() == [x for x in printed(command).splitlines() if x.startswith("|")]
        assert len(rows.splitlines()) == 2 + 27, "source_only at five lengths, eleven at two"


SCENARIOS = ("gta2cs", "synthia2cs")


def test_the_readmes_sentence_under_the_table_is_what_its_marks_say():
    """Beyond chance at equal seconds at each of its lengths: on GTA5, and there and on SYNTHIA."""
    paths = [ROOT / one for one in page("results/tables/edition2/main.txt").split()]
    told = [
        {
            row.method
            for row in table.rows
            for gain in [row.gain_at_seconds]
            if gain and gain.significant and gain.mean > 0 and row.method != ORACLE
        }
        for table in comparison(store.read_all(paths))
    ]
    listed = sorted(told[0])
    said = " ".join(README.split())
    assert f"seconds `{'`, `'.join(listed[:-1])}` and `{listed[-1]}` gain here" in said
    assert f"`{'` and `'.join(sorted(told[0] & told[1]))}` on SYNTHIA too" in said


def test_what_doubling_source_onlys_schedule_gains_is_what_the_records_say():
    paths = [ROOT / one for one in page("results/tables/edition2/main.txt").split()]
    scores = defaultdict(dict)
    for record in store.read_all(paths):
        if record.spec.method == BASELINE and record.spec.profile.length in (4, 8, 16):
            key = record.spec.scenario.name, record.spec.profile.length
            scores[key][record.spec.seed] = record.metrics.student.miou

    def gained(scenario, length):
        short, long = scores[scenario, length], scores[scenario, 2 * length]
        gain = summary(long[seed] - short[seed] for seed in long)
        return f"{gain.mean:.1f}", f"[{gain.low:.1f}, {gain.high:.1f}]", len(long)

    (gta, gta_within, n), (synthia, synthia_within, _) = (gained(s, 4) for s in SCENARIOS)
    said = " ".join(page("results/edition2.md").split())
    assert n == 5
    assert (
        f"gains {gta} points on GTA5 -> Cityscapes {gta_within} and {synthia} on SYNTHIA -> "
        f"Cityscapes {synthia_within} (five seeds, paired"
    ) in said
    (gta, gta_within, n), (synthia, synthia_within, _) = (gained(s, 8) for s in SCENARIOS)
    assert n == 3
    assert f"from x8 to x16 {gta} {gta_within} and {synthia} {synthia_within} (three seeds;" in said


#: The pages of what records let one say.
SAID = "\n".join(page(f"results/{path.name}") for path in (ROOT / "results").glob("*.md"))
CLAIMS = re.findall(r"<!-- bench (claims .*?) -->\n(.*?)\n<!-- /bench claims -->", SAID, re.S)
COMPARED = re.findall(r"<!-- bench (compare .*?) -->\n(.*?)\n<!-- /bench compare -->", SAID, re.S)


@pytest.mark.parametrize(
    ("command", "shown"), CLAIMS + COMPARED, ids=[command for command, _ in CLAIMS + COMPARED]
)
def test_a_claim_is_what_its_command_makes_of_the_records(command, shown, monkeypatch):
    """Of a table its rows."""
    monkeypatch.chdir(ROOT)
    made = printed(command)
    if shown.startswith("|"):
        made = "\n".join(line for line in made.splitlines() if line.startswith("|"))
    assert made == shown


def compared(methods):
    """The rows of the pages' tables of these two, by the text of their cells."""
    tables = [shown for command, shown in COMPARED if re.match(rf"compare {methods} ", command)]
    rows = [line for shown in tables for line in shown.splitlines()[2:]]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows]


def points(cell):
    """A difference, and whether it is told from chance."""
    return float(cell.split()[0]), not cell.endswith("~")


def test_the_first_sentence_is_what_records_say():
    """Of `adabn` over source-only at equal seconds, and of `daformer`'s EMA teacher over it."""
    paths = [ROOT / one for one in page("results/tables/edition2/main.txt").split()]
    gains = [
        row.gain_at_seconds
        for table in comparison(store.read_all(paths))
        for row in table.rows
        if row.method == "adabn"
    ]
    assert len(gains) == 4
    assert all(gain.significant for gain in gains)
    ema = [
        points(row[3]) for row in compared("adabn daformer") if row[0] in ("gta2cs", "synthia2cs")
    ]
    assert len(ema) == 4
    assert all(told for _, told in ema)
    low, high = min(g.mean for g in gains), max(g.mean for g in gains)
    said = " ".join(SAID.split())
    assert (
        f"is {low:.1f} to {high:.1f} points above source-only trained for as many seconds" in said
    )
    assert f"is {min(ema)[0]:.1f} to {max(ema)[0]:.1f} points above it" in said


def test_the_second_sentence_is_what_the_tables_say():
    """No EMA teacher is better with a frozen teacher beside it, and what that costs."""
    rows = compared(r"daformer\S* dualkd\S*")
    told = [(row[0], gain) for row in rows for gain, is_told in [points(row[3])] if is_told]
    worse = {scenario for scenario, gain in told if gain < 0}
    ratios = [float(row[5].split()[0]) for row in rows if row[5] != "-"]
    assert all(gain < 0 for _, gain in told)
    assert {"gta2cs", "gta2camvid", "camvid_day2dusk"} <= worse
    assert f"at {min(ratios):.1f} to {max(ratios):.1f} times `daformer`'s seconds" in " ".join(
        SAID.split()
    )


def test_claims_are_made_and_none_is_left_open():
    for verb, found in (("claims", CLAIMS), ("compare", COMPARED)):
        assert len(found) == SAID.count(f"<!-- bench {verb}") == SAID.count(f"<!-- /bench {verb}")
    said = "".join(shown for _, shown in CLAIMS)
    for question in ("Beyond chance above", "larger frozen teacher", " alone ", "On photographs"):
        assert question in said
