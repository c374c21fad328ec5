"""benchmarks/speed/overhead.py: what a run spends besides its steps and its loader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench_cli import QUICK

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "speed" / "overhead.py"


def test_a_training_is_told_apart_into_its_steps_its_loader_and_the_rest():
    command = [sys.executable, str(SCRIPT), *QUICK]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    told = json.loads(line)
    assert (told["student"], told["iterations"]) == ("test_mit", 4)
    inside = told["steps_cpu_seconds"] + told["loader_cpu_seconds"]
    assert 0 < told["loader_cpu_seconds"] < told["steps_cpu_seconds"]
    assert told["training_cpu_seconds"] > inside
    whole = 100 * (told["training_cpu_seconds"] / inside - 1)
    assert told["overhead_percent"] == pytest.approx(whole, abs=0.1)  # of rounded seconds
