"""The loader's worker processes: how they start, and that those that do not answer are given up.

PyTorch waits without end for a worker that is stopped or that waits for a dead network drive, with
its `timeout` too: a batch that a worker has sent is still fetched from that worker.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from harness.errors import WORKER_ENDED, BenchError, in_one_line, of_a_worker
from harness.processes import end_with_parent
from harness.signals import leave_to_parent

#: Seconds that a batch is waited for, and between two looks at how long it has been.
LONGEST_WAIT, LOOK_EVERY = 300.0, 1.0


def worker_options(workers: int, device: torch.device) -> dict[str, Any]:
    """Arguments of a DataLoader with so many workers; 0 loads in this process."""
    return {
        "num_workers": workers,
        "worker_init_fn": _one_thread,
        "pin_memory": device.type == "cuda",
        "prefetch_factor": 4 if workers else None,
    }


def _one_thread(worker: int) -> None:
    """Keep a worker to one thread: more compete for the cores, and OpenCV's may hang in a fork.

    A signal to all processes at once is for the one that trains, which ends its workers itself.
    """
    leave_to_parent()
    end_with_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def patient(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches. BenchError where its workers do not answer for LONGEST_WAIT."""
    batches = _quietly(loader)
    watch = _Watch(getattr(batches, "_workers", ()))
    try:
        while True:
            watch.waits = True
            batch = next(batches)
            watch.waits = False
            yield batch
    except StopIteration:
        return
    except (RuntimeError, OSError, EOFError) as error:
        if not watch.gave_up:
            # What a worker had sent is fetched from it: one that was killed has closed its end.
            if watch.workers and not isinstance(error, RuntimeError) and not of_a_worker(error):
                raise BenchError(f"{WORKER_ENDED} ({in_one_line(error)}).") from error
            raise
        raise BenchError(
            f"no loader worker has answered for {LONGEST_WAIT:.0f} seconds: they are stopped, "
            "starved, or wait for a disk that does not answer; see free memory, /dev/shm and the "
            "disk, and try fewer workers, or none: --set workers=0."
        ) from error
    finally:
        watch.ended.set()


def _quietly(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches, without the handler of SIGCHLD that torch sets for its workers.

    It raises for a worker that has ended wherever the main thread is: where a signal has ended all
    processes of a run, in the middle of a step or while it writes down what is kept. Without it
    the wait for a batch tells of such a worker, within five seconds.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if _of_torch(signal.getsignal(signal.SIGCHLD)):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if _of_torch(before) else before)
    return batches


def _of_torch(handler: Any) -> bool:
    return str(getattr(handler, "__module__", "")).startswith("torch.")


class _Watch:
    """Kills the workers when a batch has been waited for too long; torch then raises.

    It counts its looks instead of reading a clock: a run that was itself stopped for hours, by a
    scheduler or a shell, has not waited. Nothing else than SIGKILL reaches a stopped worker.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        self.workers = workers
        self.waits = self.gave_up = False
        self.ended = threading.Event()
        if workers:
            threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        looks = 0
        while not self.ended.wait(LOOK_EVERY):
            looks = looks + 1 if self.waits else 0
            if looks * LOOK_EVERY >= LONGEST_WAIT:
                self.gave_up = True
                for worker in self.workers:
                    worker.kill()
                return
