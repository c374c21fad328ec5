from __future__ import annotations

import gc
import os
import signal
import sys

import pytest


def pytest_collection_modifyitems(items):
    """What is marked as last comes last, in its order: it wants the machine to itself."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory):
    """Keep the user's data, results and cache out of the tests, and the tests out of theirs."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    if "PYTEST_XDIST_WORKER" in os.environ:
        # One for all workers: scenes are drawn, and a network's inference is timed, once.
        cache = tmp_path_factory.getbasetemp().parent / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UDA_BENCH_CACHE", str(cache))
        for name in ("UDA_BENCH_DATA", "UDA_BENCH_RESULTS", "UDA_BENCH_DEBUG"):
            patch.delenv(name, raising=False)
        # Wide enough for a table's words to stay whole; processes that tests start inherit both.
        patch.setenv("COLUMNS", "200")
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        yield


@pytest.fixture(scope="session", autouse=True)
def warm_workers(tmp_path_factory, own_environment):
    """Fork the workers of runs from one process -> the command that starts each, which it was."""
    from harness.runs import launchers

    plain = launchers.command
    if sys.platform != "linux":
        yield plain
        return
    from warm_workers import Commands

    commands = Commands(tmp_path_factory.mktemp("w") / "s", plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launchers, "command", commands)
        yield plain
    commands.close()


@pytest.fixture
def cold_workers(warm_workers, monkeypatch):
    """Start each worker as a user's is, where a test is about that."""
    monkeypatch.setattr("harness.runs.launchers.command", warm_workers)


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


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard():
    """Where a shell started the tests in the background, or nohup, some signals are ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up and signal.getsignal(hang_up) == signal.SIG_IGN:
        signal.signal(hang_up, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def little_to_collect():
    """Keep what is imported by now out of the collections that each run asks for: a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread():
    """Where torch is there already, keep it to one thread: the networks here are microscopic."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
