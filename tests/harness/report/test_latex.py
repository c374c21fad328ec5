import re
import shutil
import subprocess

import pytest
from fake_records import fake_cost, fake_record, four_methods

from harness.analysis.comparison import comparison
from harness.report.formats import render
from harness.report.latex import PREAMBLE, broken, escaped, latex, ranked

LATEX = shutil.which("pdflatex")
NASTY = r"\input{x} 100 % & a_b $x$ #1 ~ ^ { < > | -> <- ± 中 é" + "\u202e"

DOCUMENT = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,margin=0.75in,columnsep=0.3125in]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
\input{tables.tex}
\end{document}
"""


def two_columns(tmp_path, text):
    """What LaTeX says of the tables in a paper of two columns."""
    (tmp_path / "tables.tex").write_text(text, encoding="utf-8")
    (tmp_path / "paper.tex").write_text(DOCUMENT, encoding="utf-8")
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120
    )


@pytest.mark.skipif(LATEX is None, reason="pdflatex is not installed")
def test_every_table_compiles_and_fits_two_columns(tmp_path):
    long = "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"
    records = [
        *four_methods(),
        *four_methods(scenario="synthia2cs"),
        *(fake_record(f"strange {NASTY}", s, 33 + s, config={"note": NASTY}) for s in (0, 1)),
        fake_record("daformer", 0, 35, student=long),
        fake_record("x" * 70, error=NASTY * 3),
    ]
    tables = render(records, "latex", True, True, True)
    chosen = render(four_methods(), "latex", columns=["method", "gain", "miou"])
    done = two_columns(tmp_path, tables + chosen.replace(r"\label{", r"\label{chosen-"))
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout
    assert "too large" not in done.stdout
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_packages_are_named_and_every_label_is_one_of_its_own():
    text = latex(comparison([*four_methods(), *four_methods(scenario="synthia2cs")]), True)
    assert text.startswith(PREAMBLE)
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels == [
        "tab:gta2cs-tiny", "tab:gta2cs-tiny-classes",
        "tab:synthia2cs-tiny", "tab:synthia2cs-tiny-classes",
    ]  # fmt: skip
    assert text.count(r"\begin{table*}") == 4
    assert r"GTA5 $\rightarrow$ Cityscapes" in text


def test_the_best_is_bold_the_second_underlined_and_the_oracle_neither():
    lines = latex(comparison(four_methods())).splitlines()
    row = {line.split(" & ")[0]: line.split(" & ")[1] for line in lines if " & " in line}
    assert row["dualkd"].startswith(r"\textbf{34.4")
    assert row["daformer"].startswith(r"\underline{26.5")
    assert "bf" not in row["oracle"]
    assert "underline" not in row["source\\_only"]


def test_ranks_are_of_what_is_printed():
    assert ranked([1.04, 1.0, 0.5, None]) == [1, 1, 2, None]
    assert ranked([3.0, 3.0]) == [None, None]
    assert ranked([float("nan"), 2.0, 1.0]) == [None, 1, 2]


def test_chosen_columns_stand_alone_and_in_their_order():
    text = render(four_methods(), "latex", columns=["miou", "method", "memory"])
    (header,) = [line for line in text.splitlines() if line.startswith("mIoU")]
    assert header == r"mIoU \% (all19, tiny) & method & peak MiB (CPU) \\"
    assert text.count(r"\begin{table*}") == 1
    assert r"\begin{tabular}{@{}rlr@{}}" in text
    assert r"\textbf{34.4 $\pm$ 2.1 (3)} & dualkd & 900 \\" in text
    assert r"\underline{26.5 $\pm$ 0.9 (3)} & daformer & 900 \\" in text
    assert "Bold: best" in text
    assert "params" not in text
    assert "Bold: best" not in render(four_methods(), "latex", columns=["method", "gain"])


def test_classes_stand_across():
    text = latex(comparison(four_methods()), per_class=True)
    assert r"\rotatebox{90}{traffic light} & " in text
    assert text.count(r"\rotatebox") == 20  # 19 classes and their mean


def test_sorted_classes_stand_beside_their_methods():
    """As in the table of classes in Markdown, whatever the order of the rows."""
    text = render(four_methods(), "latex", per_class=True, sort="miou")
    classes = [line for line in text.partition("-classes}")[2].splitlines() if " & " in line][1:]
    means = [(line.split(" & ")[0], line.rpartition(" & ")[2]) for line in classes]
    assert [name for name, _ in means] == ["oracle", "dualkd", "daformer", r"source\_only"]
    assert "34.4" in dict(means)["dualkd"]
    assert "26.5" in dict(means)["daformer"]


def test_the_page_has_what_its_notes_speak_of():
    records = four_methods()
    other = fake_record("dacs", 0, 30, cost=fake_cost(memory_kind="cpu pss above baseline"))
    text = render([*records, other], "latex")
    assert "Warning: peak MiB is of several kinds" in text.replace(r"\allowbreak{}", "")
    assert "900 cpu pss above baseline" in text
    lengths = [
        fake_record(method, seed, 30 + seed, profile={"length": n, "iterations": 800 * n},
                    cost=fake_cost(wall_seconds=100.0 * n))
        for method in ("source_only", "dacs") for n in (1, 2) for seed in range(3)
    ]  # fmt: skip
    titles = render(lengths, "latex")
    assert "gain (equal steps) & gain (equal seconds)" in titles


def test_a_text_of_a_stranger_is_no_command():
    made = escaped(NASTY)
    assert r"\input" not in made
    assert r"\textbackslash{}input\{x\}" in made
    assert "?" in made  # a letter that no font of its has
    assert "\u202e" not in made
    assert r"$\rightarrow$" in made
    assert broken("a/b") == "a/b"
    assert broken("a/b" * 9).count(r"\allowbreak") == 9
    assert broken("x" * 70).count(r"\allowbreak") == 3


def test_the_page_fragment_says_its_encoding_and_brings_its_style():
    text = render(four_methods(), "html")
    assert text.startswith('<meta charset="utf-8">\n<style>')
    assert all(line.startswith(".uda-bench") for line in text.split("<style>")[1].split("</style>")[0].split("\n")[1:-1])  # noqa: E501  # fmt: skip
