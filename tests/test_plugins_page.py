"""docs/plugins.md followed from scratch: its files, its commands, its package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench_cli import QUICK, SETTINGS, bench
from documented import ROOT, commands, files, page
from forked import forked

from harness.records import store

PAGE = page("docs/plugins.md")
FILES, COMMANDS = files(PAGE), commands(PAGE)

#: What makes a verb's example microscopic.
SMALL = {"run": QUICK, "test-method": ["--network", "test_mit"]}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, as a user's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str) -> None:
    for name in names:
        Path(name).write_text(FILES[name], encoding="utf-8")


def documented(verb: str) -> list[str]:
    """The page's one command of that verb, or that program, from its second word on."""
    (command,) = [c for c in COMMANDS if c[: 1 + (c[0] == "bench")][-1] == verb]
    return command[1:]


def follow(verb: str, *more: str) -> str:
    """What the page's command prints, which succeeds."""
    outcome = bench(*documented(verb), *SMALL.get(verb, []), *more)
    assert outcome.code == 0, outcome
    return outcome.out


def python(*arguments: str, paths: list[Path]) -> str:
    """Another process, which finds packages in these folders too."""
    paths = [*paths, ROOT]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_all_that_is_followed_here():
    assert set(FILES) == {"mirror.py", "test_mirror.py", "mirror_or_not.toml", "pyproject.toml"}
    verbs = [c[1] if c[0] == "bench" else c[0] for c in COMMANDS]
    steps = "new-method test-method pytest info run sweep pip list"
    assert verbs == steps.split()


def test_the_method_keeps_to_the_contract_and_its_test_runs(folder):
    said = follow("new-method")
    assert (folder / "mirror.py").exists()
    assert "bench test-method mirror --plugin mirror.py" in said
    write("mirror.py", "test_mirror.py")  # over the skeleton's
    assert "mirror keeps to it" in follow("test-method")
    arguments = [*documented("pytest"), "-p", "no:cacheprovider", "-k", "by_hand or scalars"]
    code, said = forked(lambda: sys.exit(pytest.main([*arguments, "-c", os.devnull])))
    assert code == 0, said
    assert "5 passed" in said


def test_it_is_shown_and_trained(folder):
    write("mirror.py")
    assert "lambda_mirror" in follow("info")
    said = follow("run", "--results", "results")
    assert "mirror" in said
    (record,) = store.read_all(folder / "results/records")
    assert record.spec.method_config["lambda_mirror"] == 0.5
    assert list(record.spec.plugins) == ["mirror"]
    assert "mirror" in record.metrics.losses


def test_it_is_compared_in_a_sweep(folder):
    """And run again when its code has changed."""
    write("mirror.py")
    text = FILES["mirror_or_not.toml"].replace("[0, 1, 2]", "[0]")
    text = text.replace('["source_only", "mirror", "daformer"]', '["mirror"]')
    text += f'students = ["test_mit"]\noverrides = {SETTINGS}\n'
    Path("mirror_or_not.toml").write_text(text, encoding="utf-8")
    follow("sweep", "--results", "results")
    assert "1 runs, 1 done before" in follow("sweep", "--results", "results")
    with Path("mirror.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    assert "1 runs, 0 done before" in follow("sweep", "--results", "results")
    records = store.read_all(folder / "results/records")
    assert [(r.spec.method, r.state) for r in records] == [("mirror", "done")] * 2
    assert len({r.spec.plugins["mirror"] for r in records}) == 2


def test_its_package_makes_it_known(folder):
    write("mirror.py", "pyproject.toml")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    python("-m", "pip", *documented("pip"), *offline, "--target", "site", paths=[])
    site = [folder / "site"]
    call = "import sys; from harness.cli.main import main; sys.argv[0] = 'bench'; main()"
    listed = python("-c", call, *documented("list"), paths=site)
    assert "the target's mirror image holds" in listed
    origin = "from methods import registry; print(registry.origins('mirror'))"
    assert "'uda-mirror 0.1.0 " in python("-c", origin, paths=site)
