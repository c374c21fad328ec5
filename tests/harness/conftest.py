"""Runs that many tests look at, made once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from bench_cli import QUICK, Outcome, bench
from filelock import FileLock


class Made(NamedTuple):
    """What a run left in its folder of results, which others read too, and what it printed."""

    results: Path
    outcome: Outcome

    def copy_to(self, folder: Path) -> Path:
        """A copy to change, times of files included."""
        return shutil.copytree(self.results, folder, dirs_exist_ok=True)


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
