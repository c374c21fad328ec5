import mmap
import os
import subprocess
import sys
import time
import warnings

import psutil
import pytest
import torch

from harness.measure import process_memory
from harness.measure.memory import PeakMemory, baseline
from harness.measure.process_memory import TreeMemory, resident_mib, tree_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def wait_for(memory: PeakMemory, mib: float) -> None:
    """Wait until a sample has seen so much; on a busy machine one may take a while."""
    deadline = time.monotonic() + 10
    while memory.so_far_mib() < mib and time.monotonic() < deadline:
        time.sleep(0.01)


@linux
def test_a_peak_that_lies_between_two_samples_is_not_missed():
    before = baseline()
    with PeakMemory("cpu", interval=60, baseline=before) as memory:
        block = mmap.mmap(-1, 200 * 2**20, flags=mmap.MAP_PRIVATE)
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        block.close()
    assert memory.kind == "cpu pss above baseline"
    assert 190 < memory.mib < 260
    assert memory.baseline_mib == before.mib
    assert memory.peak_mib == pytest.approx(memory.mib + before.mib)
    assert memory.reserved_mib is None


@linux
def test_the_peak_so_far_is_what_the_whole_will_hold():
    with PeakMemory("cpu", interval=0.005, baseline=baseline()) as memory:
        block = torch.ones(200, 2**18)
        wait_for(memory, 190)
        del block
        so_far = memory.so_far_mib()
    assert 190 < so_far < 260
    assert so_far <= memory.mib == memory.so_far_mib()


@linux
def test_what_was_there_before_the_baseline_does_not_count():
    block = torch.ones(200, 2**18)
    with PeakMemory("cpu", baseline=baseline()) as memory:
        time.sleep(0.05)
    assert memory.mib < 60
    assert len(block) == 200


@linux
def test_pages_that_strangers_share_move_nothing(tmp_path):
    """Libraries are mapped by processes of no concern: one that starts or ends is not seen."""
    path = tmp_path / "library"
    path.write_bytes(bytes(64 * 2**20))
    with path.open("rb") as file:
        block = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        before = tree_memory().mib
        with PeakMemory("cpu", interval=0.005, baseline=baseline()) as memory:
            assert sum(block[page] for page in range(0, len(block), mmap.PAGESIZE)) == 0
            time.sleep(0.05)
        assert tree_memory().mib - before < 16
    assert memory.mib < 32


CHILD = (
    "import mmap, sys, time; b = mmap.mmap(-1, 120 * 2**20, flags=mmap.MAP_PRIVATE); "
    "[b.__setitem__(i, 1) for i in range(0, len(b), 4096)]; print('full', flush=True); "
    "sys.stdin.readline()"
)


@linux
def test_a_forked_worker_adds_what_it_does_not_share():
    before, resident = tree_memory().mib, resident_mib()
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads
        child = os.fork()
    if not child:
        os.close(writes)
        os.read(reads, 1)
        os._exit(0)
    try:
        assert tree_memory().mib - before < 60
        assert resident_mib() - resident > 60
    finally:
        os.close(writes)
        os.waitpid(child, 0)
        os.close(reads)


@linux
def test_children_count():
    with PeakMemory("cpu", interval=0.005, baseline=baseline()) as memory:
        command = [sys.executable, "-c", CHILD]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "full\n"
        with_child = tree_memory().mib
        wait_for(memory, 115)
        child.communicate("\n")
    # Both in a row: what other processes share with this one changes with them.
    assert with_child - tree_memory().mib > 115
    assert 115 < memory.mib < 220


def test_the_second_choice_is_named(monkeypatch):
    class NoPss:
        uss = 64 * 2**20

    monkeypatch.setattr(process_memory, "_without_files", lambda _: None)
    monkeypatch.setattr(psutil.Process, "memory_full_info", lambda _: NoPss())
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [])
    assert tree_memory() == (64.0, "uss")

    def denied(_):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    assert tree_memory().kind == "rss"
    with PeakMemory("cpu", baseline=tree_memory()) as memory:
        pass
    assert memory.kind == "cpu rss above baseline"


def test_without_proc_every_sample_reads_the_tree(monkeypatch):
    sizes = iter([100.0, *[180.0] * 50])
    monkeypatch.setattr(process_memory, "_status", lambda _: {})
    monkeypatch.setattr(process_memory, "tree_memory", lambda: TreeMemory(next(sizes), "uss"))
    with PeakMemory("cpu", interval=60, baseline=TreeMemory(90.0, "uss")) as memory:
        memory._tree._due = 0.0
    assert (memory.kind, memory.mib, memory.peak_mib) == ("cpu uss above baseline", 90.0, 180.0)


def test_what_a_pause_allocates_does_not_count():
    with PeakMemory("cpu", baseline=baseline()) as memory:
        before = memory.so_far_mib()
        with memory.paused():
            paused = bytearray(60 * 2**20)
            del paused
    assert memory.mib < before + 30


def test_the_peak_of_an_interrupted_try_counts_where_it_was_higher():
    with PeakMemory("cpu", baseline=baseline()) as memory:
        kind = memory.state_dict()["kind"]
        memory.load_state_dict({"kind": kind, "mib": 5e6, "peak_mib": 9e6, "baseline_mib": 4e6})
        assert memory.so_far_mib() == 5e6
        assert memory.state_dict()["mib"] == 5e6, "and goes on with the next state"
    assert (memory.mib, memory.peak_mib, memory.baseline_mib) == (5e6, 9e6, 4e6)
    with PeakMemory("cpu", baseline=baseline()) as memory:
        memory.load_state_dict({"kind": "gpu allocated", "mib": 5e6})
    assert memory.mib < 5e6, "another kind of figure"


def test_a_gpus_peak_leaves_out_what_a_pause_allocates(monkeypatch):
    held = {"peak": 0.0}
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: held.update(peak=0.0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: held["peak"] * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 900 * 2**20)
    with PeakMemory("cuda") as memory:
        held["peak"] = 500.0
        with memory.paused():
            held["peak"] = 800.0
        held["peak"] = 300.0
    assert memory.mib == pytest.approx(500)
    with PeakMemory("cuda") as memory:
        with memory.paused():
            held["peak"] = 800.0
        held["peak"] = 300.0
    assert memory.mib == pytest.approx(300)


def test_what_torch_imports_at_the_first_step_is_in_the_baseline():
    """Else a figure holds it or not by who imported what before: `bench run`, or a sweep."""
    code = (
        "import torch; from harness.measure.memory import PeakMemory, baseline\n"
        "with PeakMemory('cpu', baseline=baseline()) as memory:\n"
        "    weights = torch.nn.Parameter(torch.ones(4))\n"
        "    optimiser = torch.optim.AdamW([weights], fused=True)\n"
        "    weights.sum().backward()\n"
        "    optimiser.step()\n"
        "assert memory.mib < 20, memory.mib"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
