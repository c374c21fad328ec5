"""The loader's worker processes: how they start, and that those that do not answer are given up.

PyTorch waits without end for a worker that is stopped or that waits for a dead network drive, with
its `timeout` too: a batch that a worker has sent is still fetched from that worker.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
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
    batches = iter(loader)
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
        _forget(batches)
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


def _forget(batches: Iterator[Any]) -> None:
    """End the workers: torch raises for a dead one that it still knows, whatever then goes on."""
    with suppress(RuntimeError, OSError, EOFError):
        getattr(batches, "_shutdown_workers", lambda: None)()


class WorkerEnds:
    """Holds torch's word of a worker that has ended back, but where a batch is waited for.

    Its handler of SIGCHLD raises wherever the main thread is: a signal to all processes of a run
    would end it in the middle of a step, of which no state can be kept.
    """

    def __init__(self) -> None:
        self._handler: Callable[[int, FrameType | None], Any] | None = None  # torch's
        self._waits = self._ended = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, a worker's end is told in `told` alone."""
        self._take()
        try:
            yield
        finally:
            if self._handler:
                signal.signal(signal.SIGCHLD, self._handler)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Inside `held`, around the wait for a batch: RuntimeError for a worker that has ended."""
        self._waits = True
        try:
            if self._ended:
                self._receive(signal.SIGCHLD, None)
            yield
        finally:
            self._waits = False
            self._take()  # a loader's first batch sets torch's handler

    def _take(self) -> None:
        if not hasattr(signal, "SIGCHLD") or not _in_main_thread():
            return
        handler = signal.getsignal(signal.SIGCHLD)
        if callable(handler) and handler != self._receive:
            self._handler = handler
            signal.signal(signal.SIGCHLD, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._ended = not self._waits
        if self._waits and self._handler:
            self._handler(number, frame)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


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
