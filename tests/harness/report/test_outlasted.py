"""A run goes on where nothing takes what it prints."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.report.outlasted import outlasted
from harness.report.progress import Reporter

SAYS = """
import sys
from rich.console import Console
from harness.report.outlasted import outlasted
from harness.report.progress import Reporter
report = Reporter(outlasted(Console()))
sys.stdin.readline()
with report.doing("a stage"):
    for line in range(2000):
        report.say(f"line {line}")
with report.sweeping() as tell:
    tell("a run", 0, 1, None)
open(sys.argv[1], "w").write("went on")
"""


def gone_on(stdout: int, done: Path, close: int | None = None) -> bool:
    """Whether a program that prints there comes to its end, with exit code 0."""
    program = subprocess.Popen(
        [sys.executable, "-c", SAYS, str(done)], stdin=subprocess.PIPE, stdout=stdout
    )
    os.close(stdout)
    if close is not None:
        os.close(close)
    program.communicate(b"\n", timeout=120)
    return program.returncode == 0 and done.read_text() == "went on"


def test_a_terminal_that_closes_ends_no_run(tmp_path):
    ours, its_own = pty.openpty()
    assert gone_on(its_own, tmp_path / "done", ours)


def test_a_pipe_that_closes_ends_no_run(tmp_path):
    reads, writes = os.pipe()
    assert gone_on(writes, tmp_path / "done", reads)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_ends_no_run(tmp_path):
    assert gone_on(os.open("/dev/full", os.O_WRONLY), tmp_path / "done")


def test_what_can_be_printed_is():
    console = Console(file=io.StringIO(), width=40)
    Reporter(outlasted(console)).say("a line")
    assert console.file.getvalue() == "a line\n"
