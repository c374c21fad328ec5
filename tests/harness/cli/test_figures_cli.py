"""`bench plot` and `bench report` from the command line."""

import pytest
from bench_cli import QUICK, bench, refused
from fake_records import fake_record, four_methods

from harness.records import store


@pytest.fixture
def folder(tmp_path):
    for record in [*four_methods(), *four_methods(scenario="synthia2cs")]:
        store.write(record, tmp_path / "runs" / "records")
    return tmp_path


def test_a_figure_a_table_each_named_and_printed(folder):
    out = folder / "paper" / "gain.svg"
    outcome = bench("plot", "gain", "--results", folder / "runs", "--out", out)
    assert outcome.code == 0, outcome.err
    names = [f"gain-{scenario}-tiny.svg" for scenario in ("gta2cs", "synthia2cs")]
    assert sorted(path.name for path in out.parent.iterdir()) == names
    assert outcome.out.split() == [str(out.parent / name) for name in names]


def test_one_figure_has_the_name_that_it_was_given(folder):
    out = folder / "gain.pdf"
    options = ("--scenario", "gta2cs", "--results", folder / "runs", "--out", out)
    assert bench("plot", "gain", *options).out.split() == [str(out)]
    assert out.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("gain", "--out", "gain.doc"), "ends in .png, .svg, .pdf"),
        (("teachers",), "no record of a method with a frozen teacher; run one"),
        (("gain", "--method", "hrda"), "--method hrda: no record in"),
        (("qualitative", "--images", "1,x"), "--images 1,x: expected numbers from 0"),
        (("nonsense",), "'nonsense' is not one of 'cost'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(folder, arguments, reason):
    assert reason in refused(bench("plot", *arguments, "--results", folder / "runs"))
    assert not list(folder.glob("*.png"))


def test_a_run_is_shown_with_its_predictions(tmp_path):
    """From training to the pages, with weights and data at hand."""
    results = ("--results", tmp_path / "runs")
    run = bench("run", "--method", "source_only", "--scenario", "gta2cs", *QUICK, *results)
    assert run.code == 0, run.err
    outside = bench("plot", "qualitative", *results, "--images", "7")
    assert "numbers from 0 to 1 expected" in refused(outside)
    store.write(fake_record("daformer"), tmp_path / "runs" / "records")  # without weights
    failed = fake_record(scenario="synthia2cs", error="out of memory")  # a table without a row
    store.write(failed, tmp_path / "runs" / "records")
    drawn = bench("plot", "qualitative", *results, "--out", tmp_path / "q.png", "--images", "0,1")
    assert drawn.code == 0, drawn.err
    assert (tmp_path / "q.png").stat().st_size > 1000
    site = bench("report", *results, "--with-images", "--out", tmp_path / "site")
    assert site.code == 0, site.err
    assert "without images: " in site.err
    assert len(list((tmp_path / "site/runs").glob("*-prediction.png"))) == 2
    assert str(tmp_path / "site/index.html") in " ".join(site.out.split())
