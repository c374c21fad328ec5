"""`bench new-method` and `bench test-method`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bench_cli import bench, refused
from forked import forked

from harness.cli.main import main
from harness.plugins.test_method import _reason
from methods import registry
from methods.source_only import SourceOnly
from methods.testing.suite import Case, Check
from methods.testing.tools import Subject

ROOT = Path(__file__).parents[3]

BROKEN = '''"""Broken: draws from torch, and fails on what it is given."""

import torch

from methods.contract import Method
from methods.parts.losses import cross_entropy


class Broken(Method):
    title = "Broken"
    uses_target = False

    def losses(self, batch, step):
        if batch.source_image.shape[-1] == 65:
            raise ZeroDivisionError("an odd size")
        noise = 0.1 * torch.randn(2, 1, 1, 1)
        logits = self.student(batch.source_image + noise).logits
        yield {"source": cross_entropy(logits, batch.source_label)}
        if self.student.num_classes != 19:
            yield {"again": logits.mean()}
'''


@pytest.fixture(autouse=True)
def no_files_afterwards():
    yield
    registry.use_files(())


def test_the_skeleton_is_clean_runs_and_keeps_to_the_contract(tmp_path):
    made = bench("new-method", "calm_sea", "--out", tmp_path)
    assert made.code == 0, made.err
    method, test = tmp_path / "calm_sea.py", tmp_path / "test_calm_sea.py"
    assert "class CalmSea(Method)" in method.read_text()
    assert "$" not in method.read_text() + test.read_text()
    for arguments in (["check"], ["format", "--check"]):
        tool = [sys.executable, "-m", "ruff", *arguments, "--no-cache"]
        subprocess.run(
            [*tool, "--config", ROOT / "pyproject.toml", tmp_path], check=True, capture_output=True
        )
    tested = bench("test-method", "calm_sea", "--plugin", method, "--network", "test_mit")
    assert tested.code == 0, tested
    assert "FAIL" not in tested.out
    assert "PASS  gradients reach the student and nothing frozen" in tested.out
    assert f"bench test-method calm_sea --plugin {method}" in made.out
    options = ["-p", "no:cacheprovider", "-n", "0", "-c", ROOT / "pyproject.toml"]
    options += ["--rootdir", tmp_path, "-k", "hand or refused", test]
    code, printed = forked(lambda: sys.exit(pytest.main([*map(str, options)])))
    assert code == 0, printed
    assert "2 passed" in printed


def test_it_writes_over_nothing(tmp_path):
    (tmp_path / "test_calm.py").write_text("mine")
    assert "is there already" in refused(bench("new-method", "calm", "--out", tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["test_calm.py"]


def test_what_was_killed_between_its_files_can_be_called_again(tmp_path):
    assert bench("new-method", "calm", "--out", tmp_path).code == 0
    assert "calm.py is there already" in refused(bench("new-method", "calm", "--out", tmp_path))
    (tmp_path / "test_calm.py").unlink()
    assert bench("new-method", "calm", "--out", tmp_path).code == 0
    assert (tmp_path / "test_calm.py").is_file()
    (tmp_path / "test_calm.py").unlink()
    (tmp_path / "calm.py").write_text("mine")
    assert "calm.py is there already" in refused(bench("new-method", "calm", "--out", tmp_path))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-method", "small letters"),
        ("2nd", "small letters"),
        ("Calm", "small letters"),
        ("a+b", "small letters"),
        ("daformer", "is a method already"),
        ("json", "is a Python module already"),
        ("class", "class is Python's own"),
        ("none", "None is Python's own"),
        ("float", "float is Python's own"),
        ("value_error", "ValueError is Python's own"),
        ("batch", "its file has another Batch"),
        ("config", "its file has another Config"),
    ],
)
def test_a_name_that_will_not_do_is_refused(name, reason, tmp_path):
    assert reason in refused(bench("new-method", name, "--out", tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_method_that_breaks_the_contract_is_told_where(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(BROKEN)
    torch.set_num_threads(2)
    tested = bench("test-method", "broken", "--plugin", path, "--network", "test_mit")
    assert torch.get_num_threads() == 2, "as many as before"
    assert tested.code == 1, tested
    lines = tested.out.splitlines()
    at = lines.index("FAIL  its draws leave torch's generator alone (2)")
    assert "self.generator" in lines[at + 1]
    at = lines.index("FAIL  any crop will do (1)")
    assert f"ZeroDivisionError: an odd size (line 15 of {path})" in lines[at + 1]
    assert "PASS  the batch stays as it is (2)" in lines
    at = lines.index("FAIL  any number of classes will do (1)")
    assert "with 23 classes it breaks" in lines[at + 1]
    # Noise that it leaves on the CPU.
    assert any(line.startswith("FAIL  it seldom waits for a gpu") for line in lines), tested.out
    assert lines[-1].startswith("the contract: broken breaks it in 4 of 28 checks")


def test_what_torch_says_of_a_graph_is_told_with_its_remedy():
    def broken(subject):
        loss = torch.ones(1, requires_grad=True).square().sum()
        loss.backward()
        loss.backward()

    case = Case(Check(broken), Subject(SourceOnly))
    assert "expected the terms of one forward in one group" in _reason(case)


def test_what_cannot_be_tested_is_refused():
    assert "unknown method 'nothing'" in refused(bench("test-method", "nothing"))
    line = refused(bench("test-method", "minent", "--set", "no_knob=1"))
    assert "no_knob" in line
    assert "nonet" in refused(bench("test-method", "minent", "--network", "nonet"))


LEAVES = '''"""Leaves: does not come back from a step."""

import sys
import time

from methods.contract import Method


class Leaves(Method):
    title = "Leaves"
    uses_target = False

    def losses(self, batch, step):
        {}
        yield {{}}
'''


@pytest.mark.parametrize("leave", ["sys.exit(0)", "__import__('os')._exit(0)"])
def test_a_method_that_ends_the_process_breaks_the_contract(leave, tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text(LEAVES.format(leave))
    tested = bench("test-method", "leaves", "--plugin", path, "--network", "test_mit")
    assert tested.code == 1
    assert "it ends the process, exit code 0 (line 14 of" in tested.out


@pytest.mark.parametrize("leave", ["import sys\n\nsys.exit(0)\n", "import os\n\nos._exit(0)\n"])
def test_a_file_that_ends_the_process_is_no_method(leave, tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text(leave)
    assert "cannot be imported" in refused(bench("test-method", "leaves", "--plugin", path))


def test_a_method_that_expects_target_labels_is_told_that_it_gets_none(tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text(LEAVES.format("batch.target_label.float()"))
    tested = bench("test-method", "leaves", "--plugin", path, "--network", "test_mit")
    assert tested.code == 1
    assert "; target_label is None: a method is not given the target's labels" in tested.out


def test_a_method_that_never_ends_is_given_up(tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text(LEAVES.format("time.sleep(600)"))
    words = ["bench", "test-method", "leaves", "--plugin", str(path), "--timeout", "2"]

    def call() -> None:
        sys.argv = words
        main()

    code, printed = forked(call)
    assert code == 1
    assert "has not ended in 2 s" in printed
