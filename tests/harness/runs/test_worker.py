"""The process of one run starts from the installed code, whatever the working folder holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import harness
from harness.runs.launchers import command


def test_packages_of_our_names_in_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    """Even where nothing is installed and the parent found ours through the working folder."""
    for name in ("methods", "harness", "typer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the user folder ran')")
    root = str(Path(harness.__file__).parents[1])
    monkeypatch.setattr(sys, "path", ["", *(p for p in sys.path if p != root)])
    monkeypatch.chdir(tmp_path)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command(tmp_path / "none.json"), capture_output=True, text=True, check=False, env=env
    )
    assert "the user folder ran" not in done.stderr
    assert "none.json" in done.stderr.splitlines()[-1], "main() looked for its task"


def test_what_runs_and_the_methods_import_no_compiler():
    """It takes 75 MiB and seconds, which who only looks at a run or scores one may do without."""
    code = (
        "import sys; from methods.networks import zoo; zoo.build('test_mit');"
        "early = {'torch._dynamo', 'torchvision', 'timm'} & set(sys.modules);"
        "import harness.runs.group; from methods import registry;"
        "[registry.load(name) for name in registry.names()];"
        "sys.exit(str(early) if early else 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
