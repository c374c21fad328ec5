import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cityscapes import CLASSES

from harness.analysis.published import Figure, published

ROOT = Path(__file__).parents[3]
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"
READ = "from harness.analysis.published import published; print(len(published('gta2cs')))"


def test_a_wheel_holds_the_published_figures_and_every_toml(tmp_path):
    pytest.importorskip("setuptools", "77")
    for name in ("harness", "methods", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        listed = set(archive.namelist())
    data = {str(p.relative_to(ROOT)) for p in (ROOT / "benchmarks").rglob("*.toml")}
    assert data | {"benchmarks/published.json"} <= listed
    done = subprocess.run(
        [sys.executable, "-c", READ],
        cwd=tmp_path / "installed", env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) > 0


def figures_with_classes(scenario: str) -> list[Figure]:
    return [figure for figure in published(scenario) if figure.iou]


@pytest.mark.parametrize("scenario", ["gta2cs", "synthia2cs", "cs2acdc", "cs2darkzurich"])
def test_class_figures_agree_with_their_mean(scenario):
    """Both are rounded to a tenth. Tables that contradict themselves gave no class figures."""
    figures = figures_with_classes(scenario)
    assert figures
    for figure in figures:
        mean = sum(figure.iou.values()) / len(figure.iou)
        assert mean == pytest.approx(figure.miou, abs=0.11), figure.method
        assert len(figure.iou) == figure.classes, figure.method
        assert set(figure.iou) <= set(CLASSES), figure.method


@pytest.mark.parametrize(
    ("scenario", "method", "miou"),
    [
        ("gta2cs", "DACS", 52.1),
        ("synthia2cs", "DACS", 48.3),
        ("gta2cs", "ProDA (stage 3)", 57.5),
        ("synthia2cs", "CPSL", 57.9),
        ("gta2cs", "ADFormer", 69.2),
    ],
)
def test_rows_whose_classes_contradicted_their_mean_have_the_mean_alone(scenario, method, miou):
    rows = [f for f in published(scenario) if f.method == method and f.miou == miou]
    assert any(figure.iou is None for figure in rows)


@pytest.mark.parametrize(
    ("scenario", "method", "classes"),
    [
        ("gta2cs", "EHTDI", {19}),
        ("synthia2cs", "EHTDI", {13, 16}),
        ("synthia2cs", "CorDA", {13, 16}),
        ("cs2acdc", "CoDA", {19}),
        ("gta2cs", "VFM-UDA", {19}),
        ("gta2cs", "VFM-UDA++", {19}),
        ("gta2cs", "Rein", {19}),
        ("synthia2cs", "QuadMix", {13, 16}),
        ("cs2darkzurich", "ECAP (MIC)", {19}),
        ("synthia2cs", "FREDOM", {13, 16}),
        ("gta2cs", "IntraDA", {19}),
        ("gta2cs", "DIGA (test-time adaptation)", {19}),
    ],
)
def test_methods_of_recent_years_are_there(scenario, method, classes):
    rows = [figure for figure in published(scenario) if figure.method == method]
    assert {figure.classes for figure in rows} == classes
    assert all("://" in figure.source for figure in rows)


def test_no_figure_stands_twice():
    """One source gives one figure of a method, network and set of classes."""
    for scenario in ("gta2cs", "synthia2cs", "cs2acdc", "cs2darkzurich"):
        keys = [(f.method, f.network, f.classes, f.source, f.role) for f in published(scenario)]
        assert len(set(keys)) == len(keys)
