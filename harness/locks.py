"""Locks between processes, on file systems that have none too."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows, which locks files in another way
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


@contextmanager
def one_at_a_time(
    path: Path, waits: Callable[[], None] | None = None, say: Callable[[str], None] = log.warning
) -> Iterator[None]:
    """One process at a time inside, of any machine that shares the folder of this lock file.

    Another's end is waited for, which `waits` is told. Where files cannot be locked, `say` is told
    so, and nobody waits. OSError where the file cannot be opened.
    """
    if not _takes_locks(path):
        say(
            f"files in {path.parent} cannot be locked: two processes that are to work there in "
            "turn do not wait for each other"
        )
        yield
        return
    lock = FileLock(path, mode=path.stat().st_mode & 0o777)  # else older versions take 0644
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waits:
            waits()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _takes_locks(path: Path) -> bool:
    """Whether the file, which is made, can be locked; some network file systems say no.

    FileLock would take the existence of the file for a lock there, and wait for ever for a process
    that was killed.
    """
    if fcntl is None:
        return True
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True
