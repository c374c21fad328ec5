"""The report's pages: what they hold and never do, whoever wrote the records."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cityscapes import CITYSCAPES
from fake_records import fake_provenance, fake_record, four_methods, without_labels
from headless_browser import CHROMIUM, browser

from harness.analysis.comparison import comparison
from harness.errors import BenchError
from harness.records.schema import Golden
from harness.report.columns import MEMORY, MEMORY_NOTES
from harness.report.plots.qualitative import Example
from harness.report.site import build as build_module
from harness.report.site.build import NAMES, breaking, build
from harness.report.site.pages import comparison_sheet

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31m\u202e{{ 7 * 7 }}"


def records():
    """Four methods on two scenarios; one record is a stranger's."""
    golden = Golden(losses={f"source {NASTY}": [(0, 3.0), (400, 2.0), (799, 1.0)]}, held_mib=[])
    strange = fake_record(
        f"x{NASTY}", 0, 33, ema_miou=34, golden=golden, config={NASTY: NASTY},
        student=NASTY, provenance={**fake_provenance(NASTY), NASTY: {NASTY: [NASTY]}},
    )  # fmt: skip
    failed = fake_record("dacs", error=NASTY)
    few = [r for r in four_methods(scenario="synthia2cs") if r.spec.seed == 0]
    seed_0 = [r for r in four_methods() if r.spec.seed == 0]
    return [*seed_0, *few, strange, failed]


def example():
    pixels = np.zeros((24, 48, 3), np.uint8)
    ids = np.arange(48, dtype=np.uint8)[None].repeat(24, 0) % 19
    return Example(NASTY, pixels, ids, {"row": ids.copy()}, CITYSCAPES)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "site"
    made = records()
    build(made, out, examples={made[0].run_id: [example()]})
    return out, made


def pages(out):
    return {path: path.read_text("utf-8") for path in out.rglob("*.html")}


def test_there_is_a_page_a_run_and_a_table(site):
    out, made = site
    done = {record.run_id for record in made if record.state == "done"}
    assert {path.stem for path in (out / "runs").glob("*.html")} == done
    assert len(list((out / "tables").glob("*.html"))) == 2
    assert len(list((out / "plots").glob("*gain.svg"))) == 2


def test_names_break_after_the_signs_that_join_their_parts():
    assert breaking("timm:tf_lite0+mic") == "timm:<wbr>tf_<wbr>lite0+<wbr>mic"
    assert breaking("train img/s, w.pth, params_m, 0.5") == "train img/s, w.pth, params_m, 0.5"
    assert breaking("<b>_only") == "&lt;b&gt;_<wbr>only"


def test_the_index_shows_the_gain_at_equal_seconds_where_it_is_known():
    (table,) = comparison(four_methods())
    titles = [column.title for column in comparison_sheet(table).columns if column.shown]
    assert titles[2] == "gain"
    assert "gain at equal seconds" not in titles
    rows = [replace(row, gain_at_seconds=row.gain, gain_beyond=8) for row in table.rows]
    sheet = comparison_sheet(replace(table, rows=rows))
    shown = [i for i, column in enumerate(sheet.columns) if column.shown]
    titles = [sheet.columns[i].title for i in shown]
    assert titles[2:4] == ["gain at equal steps", "gain at equal seconds"]
    assert sheet.lines[-1].cells[shown[3]].text.endswith(" beyond x8")


def test_runs_of_one_method_and_seed_have_titles_of_their_own(tmp_path):
    runs = [fake_record("fda", profile={"length": n, "iterations": 100 * n}) for n in (1, 2, 4)]
    build(runs, tmp_path / "site")
    texts = [(tmp_path / f"site/runs/{run.run_id}.html").read_text("utf-8") for run in runs]
    titles = [re.search("<title>(.*?), .* \\(run", text)[1] for text in texts]
    assert titles == ["fda", "fda x2", "fda x4"]


@pytest.mark.parametrize("name", ["index.html", "tables/*.html"])
def test_pages_say_what_kind_of_memory_their_figures_are_of(name, tmp_path):
    build([fake_record("source_only"), fake_record("fda")], tmp_path / "site")
    (path,) = (tmp_path / "site").glob(name)
    text = path.read_text("utf-8")
    (kind,) = {fake_record("fda").cost.training.memory_kind}
    assert f"peak MiB ({MEMORY[kind]})</button>" in text
    assert f"peak MiB, {MEMORY_NOTES[kind]}." in text
    (run, *_) = (tmp_path / "site/runs").glob("*.html")
    assert f"training.memory_mib, {MEMORY_NOTES[kind]}." in run.read_text("utf-8")


def test_no_text_of_a_record_is_read_as_a_page(site):
    out, _ = site
    for path, text in pages(out).items():
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "\x1b" not in text, path
        assert "\u202e" not in text, path
        assert "49" not in re.findall(r"\{\{.*?\}\}|alert\(2\)&gt;(\d\d)", text), path
    assert any("&lt;script&gt;alert(1)" in text for text in pages(out).values())


def test_every_page_has_the_policy_and_no_inline_script_or_style(site):
    out, _ = site
    for path, text in pages(out).items():
        assert "default-src 'none'" in text, path
        inline = re.findall(r"<script(?![^>]* src=)(?![^>]*application/json)[^>]*>", text)
        assert not inline, path
        tags = re.findall(r"<[a-z][^>]*>", text)
        bare = [re.sub(r'"[^"]*"', '""', tag) for tag in tags]  # of values nothing is run
        assert not [tag for tag in bare if re.search(r"\s(style|on\w+)=", tag)], path
        assert "<style" not in text, path
        assert not re.findall(r"""(?:src|href)=["'](?:\w+:)?//""", text), path


def test_every_link_leads_to_a_file_of_the_report(site):
    out, _ = site
    for path, text in pages(out).items():
        for link in re.findall(r'(?:src|href)="([^"#]+)', text):
            target = (path.parent / link).resolve()
            assert target.is_file(), f"{path}: {link}"
            assert target.is_relative_to(out.resolve()), link


def test_a_run_without_labels_shows_no_nan_and_what_it_has(tmp_path):
    run = without_labels(fake_record("daformer", ema_miou=30), entropy=0.8125)
    build([run], tmp_path / "site")
    for path, text in pages(tmp_path / "site").items():
        assert not re.findall(r"\bnan\b", text, re.IGNORECASE), path
    page = (tmp_path / f"site/runs/{run.run_id}.html").read_text("utf-8")
    assert "Not scored: the target has no labels" in page
    page = page.replace("<wbr>", "")
    assert re.search(r"without labels\W+student\W+entropy<[^0-9]*0\.8125", page)


def test_equal_records_make_equal_reports(tmp_path):
    few = four_methods()[:1]
    contents = []
    for name in ("a", "b"):
        build(few, tmp_path / name)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        contents.append([(p.relative_to(tmp_path / name), p.read_bytes()) for p in files])
    assert contents[0] == contents[1]


def test_an_earlier_report_is_replaced_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "SHOWN", ())  # figures take long, and are all alike here
    out = tmp_path / "out"
    build([fake_record()], out)
    build([fake_record("daformer")], out)
    assert len(list((out / "runs").glob("*.html"))) == 1
    assert list(tmp_path.iterdir()) == [out]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(BenchError, match=r"holds thesis\.tex; expected a new or empty folder"):
        build([fake_record()], mine)
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]
    with pytest.raises(BenchError, match="is a file"):
        build([fake_record()], mine / "thesis.tex")
    (out / "notes.md").write_text("of an evening")
    with pytest.raises(BenchError, match=r"holds notes\.md; .* or an earlier report"):
        build([fake_record()], out)
    assert (out / "notes.md").read_text() == "of an evening"
    assert {p.name for p in out.iterdir()} == NAMES - {"plots"} | {"notes.md"}


SORTED = """(() => {
  const table = document.querySelector("table.sortable");
  const index = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith("mIoU"));
  const values = () => [...table.tBodies[0].rows].map((r) => Number(r.cells[index].dataset.value));
  const button = table.tHead.rows[0].cells[index].querySelector("button");
  button.click(); const down = values(); button.click(); return [down, values()];
})()"""
HIDDEN = """(() => {
  const box = document.querySelector("input[data-column]:not(:checked)");
  const cell = () => document.querySelector("table.sortable").rows[1].cells[box.dataset.column];
  const before = cell().hidden; box.click(); return [before, cell().hidden];
})()"""
SLID = """(() => {
  const slider = document.querySelector("input[data-over]");
  slider.value = 80; slider.dispatchEvent(new Event("input"));
  return document.querySelector(".over").style.clipPath;
})()"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_sorts_slides_and_scrolls_no_page_sideways(site, tmp_path):
    out, made = site
    run = out / "runs" / f"{made[0].run_id}.html"
    strange = next(r.run_id for r in made if r.spec.method.startswith("x<"))
    shown = [out / "index.html", *out.glob("tables/*.html"), run, out / "runs" / f"{strange}.html"]
    with browser(tmp_path) as page:
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                for path in shown:
                    page.open(path, width, scheme)
                    wide = page.value("document.documentElement.scrollWidth")
                    assert wide <= width, f"{path} at {width}: {wide}"
        page.open(out / "index.html", 1280)
        down, up = page.value(SORTED)
        assert down == sorted(down, reverse=True)
        assert up == sorted(up) != down
        assert page.value(HIDDEN) == [True, False]
        page.open(run, 1280)
        assert page.value(SLID) == "inset(0px 20% 0px 0px)"
        assert page.value("document.querySelectorAll('#curves canvas').length") > 0
        assert page.value("document.getElementById('curves-static').hidden") is True
        page.open(run, 1280, script=False)
        assert page.value("document.querySelector('#curves-static img').naturalWidth") > 0
        assert page.complaints == []
        assert {Path(url).suffix for url in page.requests} >= {".html", ".css", ".js"}
        assert all(url.startswith("file://") for url in page.requests)


def test_a_run_on_two_devices_has_a_page_of_each(tmp_path):
    on_gpu = fake_record("daformer", 0, 60, provenance=fake_provenance(gpu="H200"))
    on_cpu = fake_record("daformer", 0, 40)
    assert on_cpu.run_id == on_gpu.run_id
    build([on_cpu, on_gpu], tmp_path / "site")
    tables = sorted((tmp_path / "site" / "tables").glob("*.html"))
    assert len(tables) == 2
    shown = set()
    for table in tables:
        text = table.read_text("utf-8")
        (link,) = set(re.findall(r'href="\.\./(runs/[^"]+)"', text))
        score = re.search(r"\b[46]0\.0\b", text)[0]
        assert f"{score}" in (tmp_path / "site" / link).read_text("utf-8")
        shown.add((link, score))
    assert len({link for link, _ in shown}) == len({score for _, score in shown}) == 2
