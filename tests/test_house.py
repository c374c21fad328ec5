"""The rules of the house, as far as a machine can see them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
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
    *(
        f"harness/{name}.py"
        for name in (
            "__init__", "catalogue", "check", "cli", "cli_data", "cli_methods", "cli_options",
            "cli_weights", "comparison", "doctor", "errors", "listing", "networks", "overrides",
            "provenance", "published", "records", "resolve", "skeleton", "spec", "stats", "tables",
            "worker",
        )
    ),
    *(
        f"harness/data/{name}.py"
        for name in ("__init__", "labels", "datasets", "sources", "subset", "tools")
    ),
    *(str(p.relative_to(ROOT)) for p in (ROOT / "harness/data/scenes").glob("*.py")),
    "methods/plug_in.py",
    "methods/registry.py",
    "methods/networks/zoo.py",
]  # fmt: skip

LIBRARIES_OF_METHODS = {"torch", "torchvision", "timm", "mmseg", "mmengine", "mmcv", "pydantic"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Names of the modules that a file imports; those for type checkers do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: list[ast.AST] = list(_executed(tree.body)) if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: imports are absolute here"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _executed(body: list[ast.stmt]):
    """Statements that run when the module is imported, classes and conditions opened."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not isinstance(node, ast.FunctionDef):
            for part in ("body", "orelse", "handlers", "finalbody"):
                yield from _executed(getattr(node, part, []))


def packages(path: Path, **options) -> set[str]:
    return {name.partition(".")[0] for name in imports(path, **options)}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_downwards(path):
    above = {"methods": {"harness", "benchmarks"}, "harness": {"benchmarks"}, "benchmarks": set()}
    found = packages(path)
    assert not found & (above[path.relative_to(ROOT).parts[0]] | {"tests"})


@pytest.mark.parametrize("path", sorted((ROOT / "methods").rglob("*.py")), ids=relative)
def test_methods_know_nothing_of_files_clocks_and_tables(path):
    """They could be lifted out: beside the standard library they need these only."""
    known = sys.stdlib_module_names | LIBRARIES_OF_METHODS | {"methods", "safetensors", "numpy"}
    assert packages(path) <= known
    assert not packages(path) & {"time", "argparse"}


@pytest.mark.parametrize("path", WITHOUT_TORCH)
def test_what_answers_at_once_imports_no_torch(path):
    """Neither itself nor through what it imports when it is loaded."""
    seen: set[Path] = set()
    waiting = [ROOT / path]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        found = imports(file, top_level_only=True)
        heavy = {name.partition(".")[0] for name in found} & {"torch", "torchvision", "timm"}
        assert not heavy, f"{path} imports {heavy} through {relative(file)}"
        for name in found:
            for candidate in (
                f"{name.replace('.', '/')}.py",
                f"{name.replace('.', '/')}/__init__.py",
            ):
                if (ROOT / candidate).is_file():
                    waiting.append(ROOT / candidate)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=relative)
def test_a_file_is_one_idea_and_not_longer(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) or not text.strip()


def test_the_top_level_is_the_house_and_nothing_else():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    assert folders <= {"methods", "harness", "benchmarks", "results", "tests", "docs", ".ci"}
    assert {"methods", "harness", "benchmarks", "results", "tests"} <= folders


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
    for knob, value in catalogue.profile(name).knobs.items():
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


def test_no_file_names_a_private_folder():
    """Nothing of the machine that this was written on."""
    private = re.compile(r"(/root/|/home/\w+/|/Users/\w+/)")
    files = [*SOURCES, *(ROOT / "benchmarks").rglob("*.toml"), ROOT / "pyproject.toml"]
    files += [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    assert not [relative(file) for file in files if private.search(file.read_text("utf-8"))]


def test_published_figures_are_valid_json():
    assert json.loads(PUBLISHED.read_text(encoding="utf-8"))["results"]


DOCUMENTS = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if p.exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_documented_command_exists(path):
    """Verbs and options of each `bench ...` line of a document are those of the command line."""
    from typer.main import get_command

    from harness.cli.main import app

    command = get_command(app)
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^\s*(?:\$ )?bench (.*)$", text, re.MULTILINE):
        words = line.split("#")[0].split()
        here = command
        while words and words[0] in getattr(here, "commands", {}):
            here = here.commands[words.pop(0)]
        assert not getattr(here, "commands", None) or words[:1] in (["--help"], []), line
        options = {name for parameter in here.params for name in (*parameter.opts,)}
        options |= {name for parameter in here.params for name in parameter.secondary_opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in options | {"--help"}, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_link_between_documents_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), target
