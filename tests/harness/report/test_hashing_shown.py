"""The first reading of a real data set is said on stderr, once it takes long."""

from __future__ import annotations

import pytest
from bench_cli import QUICK, bench
from real_formats import write_cityscapes, write_gta5

from harness.data.datasets import open_dataset
from harness.report import progress


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.data.datasets._OPENED", {})


@pytest.fixture
def root(tmp_path):
    write_gta5(tmp_path / "data", 80, (96, 56))
    write_cityscapes(tmp_path / "data", 2, 1, (96, 48))
    return tmp_path / "data"


@pytest.fixture
def slow(monkeypatch):
    """As if every set had been read for longer than may pass without a word."""
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)


LINE = "reading files of gta5 once, to name the data by its content: 144\n"  # 80 labels, 64 images
RUN = ["run", "--method", "source_only", "--scenario", "gta2cs", "--profile", "tiny", *QUICK]
SUITE = """
question = "none"
methods = ["source_only", "dacs"]
scenarios = ["gta2cs"]
students = ["test_mit"]
"""


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_large_set_is_one_line_where_stderr_is_no_terminal(tmp_path, root, slow, verb):
    suite = tmp_path / "one.toml"
    suite.write_text(SUITE)
    arguments = RUN if verb == "run" else ["sweep", suite, *QUICK[2:]]
    outcome = bench(*arguments, "--data-root", root, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(LINE) == 1
    assert "reading files" not in outcome.out


def test_a_set_that_is_read_in_no_time_is_not_mentioned(root, monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 600.0)
    with progress.hashing_shown():
        open_dataset("gta5", root, "train").fingerprint()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_how_far_it_is(root, slow, monkeypatch, capsys):
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "150")):
        monkeypatch.setenv(name, value)
    with progress.hashing_shown():
        open_dataset("gta5", root, "train").fingerprint()
    assert "/144" in capsys.readouterr().err
