"""results/report: the project's own report holds the figures of the records that it names."""

from __future__ import annotations

import html
import re
import shlex
from xml.etree import ElementTree

from documented import ROOT, page

from harness.analysis.comparison import comparison
from harness.records import store
from harness.report.site.pages import comparison_sheet

REPORT = ROOT / "results/report"
LIMIT_A_RUN = 60_000  # bytes


def made_by() -> list[str]:
    """The words of the command that results/edition2.md gives."""
    found = re.search(
        r"^    (bench report .*--out results/report)$", page("results/edition2.md"), re.M
    )
    assert found, "results/edition2.md: no command that makes results/report"
    return shlex.split(found[1].replace("$(cat results/tables/edition2/main.txt)", "RECORDS"))


def cells(text: str) -> list[str]:
    """The texts of all table cells of a page."""
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", text, re.S)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", "", cell)).split()) for cell in found]


def test_its_figures_are_those_of_the_records():
    assert made_by() == ["bench", "report", "RECORDS", "--out", "results/report"]
    files = (ROOT / "results/tables/edition2/main.txt").read_text().split()
    records = store.read_all(ROOT / file for file in files)
    shown = cells((REPORT / "index.html").read_text(encoding="utf-8"))
    for table in comparison(records):
        for line in comparison_sheet(table).lines:
            texts = [" ".join(cell.text.split()) for cell in line.cells]
            starts = [i for i, cell in enumerate(shown) if cell == texts[0]]
            rows = [shown[i : i + len(texts)] for i in starts]
            assert texts in rows, f"{texts[0]}: make the report again, as results/edition2.md says"
    pages = {path.stem for path in (REPORT / "runs").glob("*.html")}
    assert pages == {record.run_id for record in records}


def test_it_is_small():
    files = [path for path in REPORT.rglob("*") if path.is_file()]
    runs = len([*REPORT.glob("runs/*.html")])
    assert sum(path.stat().st_size for path in files) < LIMIT_A_RUN * runs


def test_its_figures_are_whole_and_their_text_is_text():
    files = [*REPORT.glob("plots/*.svg"), *REPORT.glob("runs/*.svg")]
    assert files
    for path in files:
        texts = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
        assert any(text.text for text in texts), path
