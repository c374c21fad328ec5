"""Loader workers that are stopped, killed or slow."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, dataloader
from torch.utils.data._utils import signal_handling

from harness.data import workers
from harness.data.workers import patient
from harness.errors import BenchError, explained

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class Numbers(Dataset):
    """0 to 5; at 3 the worker does what it is told to."""

    def __init__(self, at_three):
        self.at_three = at_three

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 3:
            self.at_three()
        return torch.tensor(index)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def batches(at_three) -> list[int]:
    return [int(batch) for batch in patient(DataLoader(Numbers(at_three), num_workers=1))]


@pytest.fixture
def short_of_patience(monkeypatch):
    monkeypatch.setattr(workers, "LONGEST_WAIT", 1.0)
    monkeypatch.setattr(workers, "LOOK_EVERY", 0.1)


@pytest.mark.usefixtures("short_of_patience")
def test_a_stopped_worker_is_given_up_with_advice():
    with pytest.raises(BenchError, match="--set workers=0"):
        batches(stop)


@pytest.mark.usefixtures("short_of_patience")
def test_a_batch_that_is_used_for_long_is_not_waited_for():
    seen = 0
    for _ in patient(DataLoader(Numbers(lambda: None), num_workers=1)):
        time.sleep(0.4)
        seen += 1
    assert seen == 6


def test_a_killed_worker_is_said_with_advice():
    with pytest.raises((RuntimeError, BenchError)) as error:
        batches(die)
    assert "--set workers=0" in (explained(error.value) or str(error.value))


@pytest.mark.parametrize("handler", [signal.SIG_DFL, "another's", "torch's"])
def test_a_workers_end_is_told_where_a_batch_is_waited_for_and_nowhere_else(handler, monkeypatch):
    """Torch's handler would raise in the middle of a step, or of what follows an interruption."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    looks = dataloader._MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(looks, "__defaults__", (0.1,))  # seconds between two at the workers
    heard = []
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        if handler == "torch's":  # a loader that is not ours has set it
            iter(DataLoader(Numbers(lambda: None), num_workers=1))
        elif handler == "another's":
            signal.signal(signal.SIGCHLD, lambda number, frame: heard.append(number))
        loaded = patient(DataLoader(Numbers(lambda: None), num_workers=2, prefetch_factor=1))
        next(loaded)
        time.sleep(0.5)  # a worker that is killed while it holds a lock of torch's leaves it locked
        for worker in multiprocessing.active_children():
            worker.kill()
        time.sleep(0.5)  # a step, in which the handler would have its turn
        assert bool(heard) == (handler == "another's")
        with pytest.raises((RuntimeError, BenchError)) as error:
            list(loaded)  # what they had sent may still arrive
        assert "--set workers=0" in (explained(error.value) or str(error.value))
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), EOFError(), FileNotFoundError()])
def test_a_worker_that_is_gone_when_its_batch_is_fetched_is_said_with_advice(error, monkeypatch):
    loader = DataLoader(Numbers(lambda: None), num_workers=1)
    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter, "_next_data", raises(error))
    with pytest.raises(BenchError, match="--set workers=0"):
        next(patient(loader))


def raises(error):
    def raising(*_):
        raise error

    return raising


@pytest.mark.parametrize("count", [0, 1])
def test_a_file_that_cannot_be_read_is_no_workers_end(count):
    loader = DataLoader(Numbers(raises(FileNotFoundError("gone.png"))), num_workers=count)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        list(patient(loader))
