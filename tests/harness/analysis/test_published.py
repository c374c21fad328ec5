import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.analysis.published import published

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


@pytest.mark.parametrize("scenario", ["gta2cs", "synthia2cs"])
def test_class_figures_agree_with_their_mean(scenario):
    figures = [figure for figure in published(scenario) if figure.iou]
    assert figures
    for figure in figures:
        mean = sum(figure.iou.values()) / len(figure.iou)
        assert mean == pytest.approx(figure.miou, abs=0.11), figure.method
        assert len(figure.iou) == figure.classes, figure.method
