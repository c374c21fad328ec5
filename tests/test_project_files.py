"""What builds, checks and cites the project agrees with what it is made of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import harness
from harness.config.catalogue import tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CI = (ROOT / ".ci/run").read_text("utf-8").splitlines()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def jobs(workflow: Path) -> list[dict]:
    return list(yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values())


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = PROJECT["project"]
    assert citation["version"] == project["version"] == harness.__version__
    assert citation["license"] == project["license"]
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in project["authors"]]


def test_the_pythons_of_ci_are_those_of_the_package():
    of_package = [
        line.rpartition(" ")[2]
        for line in PROJECT["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", line)
    ]
    (tests,) = [path for path in WORKFLOWS if path.name == "tests.yml"]
    assert jobs(tests)[0]["strategy"]["matrix"]["python"] == of_package
    assert PROJECT["project"]["requires-python"] == f">={of_package[0]}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_ends(path):
    assert yaml.safe_load(path.read_text("utf-8"))["permissions"] == {"contents": "read"}
    for job in jobs(path):
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "a branch's name is no part of a program"
            for script in re.findall(r"^(\.ci/\w+)", step.get("run", ""), re.M):
                assert (ROOT / script).stat().st_mode & 0o111


def test_the_hooks_before_a_commit_are_the_linters_of_ci():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    entries = [hook["entry"] for hook in hooks["repos"][0]["hooks"]]
    linters = [line for line in CI if line.startswith(("ruff", "lint-imports", "mypy"))]
    assert entries == [re.sub(r" (--check|\.)(?= |$)", "", line) for line in linters]


def test_every_file_of_a_package_is_installed():
    """TOML, templates, figures of the literature: what the code reads lies in the wheel."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    installed = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    apart = ROOT / "benchmarks/speed"  # no package: scripts and tests of a checkout
    for package in ("harness", "methods", "benchmarks"):
        for path in (ROOT / package).rglob("*"):
            code = path.suffix in (".py", ".pyc") or "__pycache__" in path.parts
            if path.is_file() and not code and apart not in path.parents:
                assert path in installed, path.relative_to(ROOT)
