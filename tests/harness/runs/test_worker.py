"""The process of one run starts from the installed code, whatever the working folder holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.runs.launchers import command


@pytest.mark.parametrize("parent", ["a path without it", "a path with the empty entry"])
def test_a_working_folder_with_packages_of_our_names_is_not_imported(tmp_path, monkeypatch, parent):
    for name in ("methods", "harness", "typer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the user folder ran')")
    monkeypatch.chdir(tmp_path)
    if "empty" in parent:
        monkeypatch.setattr(sys, "path", ["", *sys.path])
    done = subprocess.run(
        command(tmp_path / "none.json"), capture_output=True, text=True, check=False
    )
    assert "the user folder ran" not in done.stderr
    assert "none.json" in done.stderr.splitlines()[-1], "main() looked for its task"


def test_it_finds_the_code_of_the_process_that_started_it(tmp_path, monkeypatch):
    """Even where nothing is installed and the parent found it through the working folder."""
    root = str(Path(harness.__file__).parents[1])
    monkeypatch.setattr(sys, "path", ["", *(p for p in sys.path if p != root)])
    monkeypatch.chdir(tmp_path)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command(tmp_path / "none.json"), capture_output=True, text=True, check=False, env=env
    )
    assert "none.json" in done.stderr.splitlines()[-1]


def test_what_runs_and_the_methods_import_no_compiler():
    """It takes 75 MiB and seconds, which who only looks at a run or scores one may do without."""
    code = (
        "import sys; import harness.runs.group; from methods import registry;"
        "[registry.load(name) for name in registry.names()];"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
