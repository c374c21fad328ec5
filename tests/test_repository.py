"""What no linter can say of the repository; imports and style are import-linter's and ruff's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.analysis.published import PATH as PUBLISHED
from harness.cli.listing import entries
from harness.config import catalogue
from harness.config.network_files import outline
from harness.config.planning import find_method
from methods import registry

ROOT = Path(__file__).parents[1]
PACKAGES = ("methods", "harness", "benchmarks")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

#: What `bench --help`, `list`, `info`, `table` and `check --records` are made of.
WITHOUT_TORCH = [
    "harness.analysis.comparison",
    "harness.analysis.head_to_head",
    "harness.analysis.published",
    "harness.analysis.regression",
    "harness.analysis.statistics",
    "harness.cli.data_reports",
    "harness.cli.doctor",
    "harness.cli.listing",
    "harness.cli.main",
    "harness.config.planning",
    "harness.config.suites",
    "harness.data.scenes",
    "harness.data.subset",
    "harness.measure.environment",
    "harness.plugins.new_method",
    "harness.records.store",
    "harness.report.formats",
    "harness.report.versus",
    "harness.runs.slurm_job",
    "harness.runs.status",
    "harness.runs.worker",
    "methods.plug_in",
    "methods.registry",
    "methods.networks.zoo",
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_what_answers_at_once_imports_no_torch():
    code = f"import sys, {', '.join(WITHOUT_TORCH)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "torchvision", "timm", "mmseg"} & set(done.stdout.split())


def test_a_file_is_one_idea_and_not_longer():
    long = [p for p in (*SOURCES, *TESTS) if len(p.read_text("utf-8").splitlines()) > 400]
    assert not [relative(path) for path in long]


#: Folders that are swapped in ways of their own; files.py has the ways that all others use.
RENAMING = ("files.py", "data/cache.py", "data/scenes/writer.py", "training/state.py")


def test_one_module_writes_files_whole():
    """Temporary names, and renaming into place; pictures are not written where they will lie."""
    by_hand = re.compile(
        r"mkstemp|NamedTemporaryFile|os\.(replace|rename)\(|(building|partial|aside|tmp)\.re\w+\("
        r"|\.save\((out|sys\.argv)\b"
    )
    allowed = {ROOT / "harness" / name for name in RENAMING}
    files = [p for p in SOURCES if p not in allowed and not p.name.startswith("test_")]
    assert not [relative(file) for file in files if by_hand.search(file.read_text("utf-8"))]


def test_no_two_classes_share_a_name():
    """Those inside another class aside, such as each method's Config."""
    names = [
        name for p in SOURCES for name in re.findall(r"^class (\w+)", p.read_text("utf-8"), re.M)
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_top_level_holds_the_named_folders_and_nothing_else():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    named = {"methods", "harness", "benchmarks", "results", "tests"}
    assert named <= folders <= named | {"docs", ".ci", ".github"}


def test_tests_mirror_the_tree():
    for path in TESTS:
        folder = path.parent.relative_to(ROOT / "tests")
        if path.name.startswith("test_") and folder != Path():
            assert (ROOT / folder).is_dir(), relative(path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in ("scenarios", "profiles", "suites")
        for name in catalogue.names(kind)
    ],
)
def test_every_toml_is_valid_and_says_what_it_is(kind, name):
    made = {
        "scenarios": catalogue.scenario,
        "profiles": catalogue.profile,
        "suites": catalogue.suite,
    }[kind](name)
    assert made.name == name
    assert entries(kind)[name]


@pytest.mark.parametrize("name", catalogue.names("profiles"))
def test_every_knob_of_a_profile_belongs_to_a_method(name):
    """And has a value that each of its methods takes: a typo would be dropped without a word."""
    configs = [registry.load(method).Config for method in registry.names()]
    profile = catalogue.profile(name)
    tables = (profile.knobs, *profile.target_knobs.values())
    for knob, value in (item for table in tables for item in table.items()):
        holders = [config for config in configs if knob in config.model_fields]
        assert holders, knob
        for config in holders:
            config(**{knob: value})


@pytest.mark.parametrize("name", catalogue.names("profiles"))
def test_every_profile_has_the_size_of_every_scenarios_sets(name):
    sizes = catalogue.profile(name).image_size
    for scenario in map(catalogue.scenario, catalogue.names("scenarios")):
        assert {scenario.source, scenario.target} <= set(sizes)


@pytest.mark.parametrize("name", catalogue.names("suites"))
def test_every_suite_names_things_that_are_there(name):
    suite = catalogue.suite(name)
    assert all(map(find_method, suite.methods))  # of names joined by `+` too
    assert set(suite.scenarios) <= set(catalogue.names("scenarios"))
    assert suite.profile in catalogue.names("profiles")
    assert all(map(outline, {*suite.students, *suite.teachers}))  # of timm and mmseg too


def test_files_that_the_code_names_are_there():
    pattern = r"(?<![\w/.{-])((?:results|docs|benchmarks|tests)/[\w./-]+\.(?:md|py|toml|txt|json))"
    missing = {
        (relative(path), name)
        for path in SOURCES
        for name in re.findall(pattern, path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert not missing


def test_no_file_names_a_private_folder():
    """Nothing of the machine that this was written on."""
    private = re.compile(r"(/root/|/home/\w+/|/Users/\w+/)")
    files = [*SOURCES, *(ROOT / "benchmarks").rglob("*.toml"), ROOT / "pyproject.toml"]
    files += [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    assert not [relative(file) for file in files if private.search(file.read_text("utf-8"))]


def test_the_architecture_page_names_every_module_of_the_harness():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    modules = [p for p in (ROOT / "harness").glob("*/*.py") if p.name != "__init__.py"]
    assert not [relative(path) for path in modules if f"`{path.name}`" not in text]


def test_the_architecture_page_lists_the_layers_that_are_checked():
    contracts = catalogue.tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    listed = re.findall(r"^\d+\. (`harness\..*)$", text, re.M)
    assert [re.findall(r"`(.*?)`", line) for line in listed] == [
        layer.split(" | ") for layer in layers
    ]


def test_published_figures_are_valid_json():
    assert json.loads(PUBLISHED.read_text(encoding="utf-8"))["results"]


def test_no_two_test_files_share_a_name():
    """Pytest imports them by it, and leaves the second out with an error."""
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
