"""Runs that many tests look at, made once."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from bench_cli import QUICK, Outcome, bench
from filelock import FileLock

from harness.runs import launchers


class Made(NamedTuple):
    """What a run left in its folder of results, which others read too, and what it printed."""

    results: Path
    outcome: Outcome

    def copy_to(self, folder: Path) -> Path:
        """A copy to change, times of files included."""
        return shutil.copytree(self.results, folder, dirs_exist_ok=True)


@pytest.fixture(scope="session", autouse=True)
def warm_workers(tmp_path_factory, own_environment):
    """Fork the workers of runs from one process; where that is not to be had, start each."""
    if sys.platform != "linux":
        yield
        return
    from warm_workers import Commands

    commands = Commands(tmp_path_factory.mktemp("w") / "s", launchers.command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launchers, "command", commands)
        yield
    commands.close()


@pytest.fixture(scope="session", autouse=True)
def operations_counted_once():
    """Count a network's operations in its first run only: that takes half a second."""
    runs = sys.modules.get("harness.runs.run")
    if runs is None:
        yield
        return
    known: dict[tuple[str, tuple[int, int]], float] = {}
    count = runs.gflops

    def counted_once(network, size):
        key = (repr(network), size)
        if key not in known:
            known[key] = count(network, size)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "gflops", counted_once)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, own_environment) -> Callable[[str], Made]:
    """Give the quick gta2cs run of a method, made by the first worker that asks for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def give(method: str) -> Made:
        folder = shared / f"run of {method}"
        folder.mkdir(exist_ok=True)
        said = folder / "outcome.json"
        with FileLock(folder / "lock"):
            if not said.exists():
                arguments = ["run", "--method", method, "--scenario", "gta2cs", *QUICK]
                outcome = bench(*arguments, "--results", folder / "results")
                said.write_text(json.dumps(outcome))
        return Made(folder / "results", Outcome(*json.loads(said.read_text())))

    return give
