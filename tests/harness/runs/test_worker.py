"""The process of one run starts from the installed code, whatever the working folder holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import harness
from harness.config.planning import Request, resolve
from harness.runs.launchers import Task, command


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


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_a_process_that_still_imports_without_a_traceback(tmp_path, monkeypatch):
    slow = "import time\nprint('imports', flush=True)\ntime.sleep(60)\n"
    (tmp_path / "slow_to_import.py").write_text(slow)
    monkeypatch.syspath_prepend(tmp_path)
    words = command(tmp_path / "task.json", "slow_to_import")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"imports\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == -signal.SIGINT


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


def test_a_run_whose_data_moved_on_since_it_was_planned_is_not_carried_out(tmp_path):
    plan = resolve(Request(method="source_only", scenario="gta2cs", student="test_mit"))
    then = plan.spec.target.model_copy(update={"fingerprint": "as it was"})
    planned = replace(plan, spec=plan.spec.model_copy(update={"target": then}))
    task = Task.of(planned, tmp_path, device="cpu")
    path = tmp_path / "task.json"
    path.write_text(task.model_dump_json())
    done = subprocess.run(command(path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = f"run {planned.spec.run_id}: the data of cityscapes has changed since it was planned"
    assert said in done.stderr.splitlines()[-1]
    assert not (tmp_path / "artifacts").exists()
