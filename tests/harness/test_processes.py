"""Processes end with the one that started them, however that ends; and how one ended in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from harness.processes import end_with_parent, ending

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

#: Each starts a process that would live for a minute, says its id, and waits.
JOB = """
import subprocess, sys, time
from harness.runs import launchers
launchers.sys.argv = ["", ""]
code = launchers.command(__import__("pathlib").Path("60"), "time")[2].replace(
    "import main; main(sys.argv[1])", "import sleep; sleep(60)")
print(subprocess.Popen([sys.executable, "-c", code]).pid, flush=True)
time.sleep(60)
"""
REVISION = """
import subprocess, time
from pathlib import Path
from harness.runs import revisions
command = revisions.command(Path("/nonexistent"), "import time; time.sleep(60)")
print(subprocess.Popen(command).pid, flush=True)
time.sleep(60)
"""
POLLING = """
import os, subprocess, sys, time
code = f'''
import time
from harness import processes
processes._kernel_tells = lambda number: False
processes._POLLED_EVERY = 0.1
processes.end_with_parent({os.getpid()})
time.sleep(60)
'''
print(subprocess.Popen([sys.executable, "-c", code]).pid, flush=True)
time.sleep(60)
"""
LOADER = """
import multiprocessing, time
from harness.data.workers import worker_options
def work():
    worker_options(1, __import__("torch").device("cpu"))["worker_init_fn"](0)
    time.sleep(60)
worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
worker.start()
time.sleep(1)
print(worker.pid, flush=True)
time.sleep(60)
"""
GENERATION = """
import sys, threading, time, psutil
from harness.data.scenes import writer
def tell(done, total):
    print(*(p.pid for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())
            and "resource_tracker" not in " ".join(p.cmdline())), flush=True)
    time.sleep(60)
if __name__ == "__main__":
    size = (32, 16)
    writer.write_dataset("gta5", {"train": 64}, sys.argv[1], size=size, workers=2, progress=tell)
"""


@pytest.mark.parametrize("program", [JOB, REVISION, POLLING, LOADER, GENERATION])
def test_a_process_ends_when_its_parent_is_killed(program, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert children
        time.sleep(0.5)  # a job tells the kernel when its first imports are done
        assert all(child.is_running() for child in children)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    assert not alive


def test_outside_of_a_worker_the_parent_must_be_named():
    with pytest.raises(AssertionError):
        end_with_parent()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "exit code 3: no such knob"),
        (-signal.SIGKILL, "killed by signal 9 (SIGKILL), perhaps out of memory"),
        (-signal.SIGTERM, "killed by signal 15 (SIGTERM)"),
        (-63, "killed by signal 63"),
    ],
)
def test_how_a_process_ended_in_words(code, words):
    assert ending(code, "no such knob") == words


def test_the_word_of_bench_says_all_of_how_a_process_ended():
    assert ending(2, "bench: no such knob") == "no such knob"
    assert "SIGKILL" in ending(-signal.SIGKILL, "bench: no such knob")
