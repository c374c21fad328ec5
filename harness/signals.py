"""Signals that ask a run to stop: the first is obeyed after the step, a second at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from harness.errors import Interrupted

#: Ctrl-C, a supervisor, a closed terminal, and what SLURM's --signal is told to send before it
#: takes a job's machine away. Windows has the first two only.
STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
#: Seconds in which further signals are the first one again: a signal to all processes of a job
#: reaches one that another started twice, the second time from that other.
AGAIN = 1.0
#: Seconds after which a signal whose exception was dropped comes anew.
_ANEW_AFTER = 0.05


class Stop:
    """Whether this process has been asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0
        self._held = 0
        self._pid = os.getpid()
        self._processes: list[subprocess.Popen[Any]] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, a signal raises Interrupted in the main thread, or is held back.

        Signals that are ignored stay so, as nohup asks for. Python lets only a main thread listen.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._receive) for number in heard}
        hook = sys.unraisablehook
        sys.unraisablehook = partial(self._dropped, hook)
        try:
            yield
        finally:
            sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, a first signal sets `number` alone; Interrupted is raised at the end.

        A second one is not held back.
        """
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self.number is not None and not self._held:
            raise Interrupted(self.number)

    @contextmanager
    def forwarded(self, process: subprocess.Popen[Any]) -> Iterator[None]:
        """Inside, signals go on to a process, and this one is held until the block has ended."""
        self.forward(process)
        try:
            with self.held():
                yield
        finally:
            self._processes.remove(process)

    def forward(self, process: subprocess.Popen[Any]) -> None:
        """Send signals on to a process from now on, for as long as it runs."""
        self._processes.append(process)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a fork that inherited this handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        now = time.monotonic()
        first = self.number is None
        if not first and now - self._since < AGAIN:
            return
        if first:
            self.number, self._since = number, now
        for process in self._processes:
            process.send_signal(number)  # nothing where it has ended
        if not (first and self._held):
            raise Interrupted(number)

    def _dropped(self, others: Callable[[Any], Any], unraisable: Any) -> None:
        """Python drops what is raised in a destructor or around a fork: have the signal anew.

        A fork of a large process takes long enough for this: a loader's workers are forks.
        """
        if not isinstance(unraisable.exc_value, Interrupted):
            others(unraisable)
            return
        number, self.number = unraisable.exc_value.number, None
        anew = threading.Timer(_ANEW_AFTER, os.kill, (os.getpid(), number))
        anew.daemon = True
        anew.start()


def end_quietly() -> None:
    """Until this process listens, Ctrl-C ends it without a traceback: it may be importing."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def leave_to_parent() -> None:
    """Ignore signals in a process that its parent ends: but for SIGTERM, by which it does so."""
    for number in STOPPING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
