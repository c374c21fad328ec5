"""Processes of ours: they end with the one that started them, and how one ended in words."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

import psutil

#: What no process can put off; Windows has the other alone.
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
#: Begins the line in which `bench` and its workers say why they end.
OUR_WORD = "bench: "
#: Of Linux's prctl.h.
_PR_SET_PDEATHSIG = 1
#: Seconds between two looks at a parent, where the kernel does not watch it.
_POLLED_EVERY = 1.0


def end_with_parent(parent: int | None = None, number: int = KILL) -> None:
    """From now on this process gets the signal when its parent ends, in whatever way that happens.

    `parent` is the process id; None: of the process whose worker of `multiprocessing` this is.
    Linux sends the signal at once, elsewhere a thread looks every second. Linux takes the thread
    that started this process for the parent: start workers from one that lasts as long.
    """
    if parent is None:
        started_by = multiprocessing.parent_process()
        assert started_by is not None, "no worker of multiprocessing"
        parent = started_by.pid
        assert parent is not None
    if sys.platform == "linux" and _kernel_tells(number) and os.getppid() == parent:
        return
    # Another system; a program between the two; or a parent that ended before the kernel was told.
    threading.Thread(target=_watch, args=(parent, number), daemon=True).start()


def _kernel_tells(number: int) -> bool:
    try:
        return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def _watch(parent: int, number: int) -> None:
    while psutil.pid_exists(parent):
        time.sleep(_POLLED_EVERY)
    os.kill(os.getpid(), number)


def ending(code: int, last_line: str = "") -> str:
    """How a process ended, by its exit code; `last_line` is the last that it printed.

    Of a signal from outside that line says nothing; where `bench` itself printed it, it is enough.
    """
    if code > 0 and last_line.startswith(OUR_WORD):
        return last_line.removeprefix(OUR_WORD)
    if code >= 0:
        return f"exit code {code}: {last_line}" if last_line else f"exit code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:  # a signal without a name
        name = ""
    perhaps = ", perhaps out of memory" if -code == KILL else ""
    return f"killed by signal {-code}{name}{perhaps}"
