"""A clock that stops while its thread waits for a processor core that others use."""

from __future__ import annotations

import time
from pathlib import Path

#: Of the calling thread: ns on a core, ns waiting for one, slices. Source: proc_schedstat, Linux.
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def own_time() -> float:
    """Seconds, of which only differences within one thread count; sleeping counts, queueing not.

    A machine busy with other work slows it little, as what shares caches and cores still does.
    Where the system does not tell (no Linux), it is the plain clock.
    """
    now = time.perf_counter()
    try:
        return now - int(_SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return now
