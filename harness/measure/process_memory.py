"""Memory of this process and its children, as the system tells it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

MIB = 2**20
#: Of this process's and its children's time, what reading their shared pages may take: 0.5 %.
_SHARED_PAGES_PAUSE = 200


class TreeMemory(NamedTuple):
    """Memory of this process and its children, MiB."""

    mib: float
    kind: Literal["pss", "uss", "rss"]


def tree_memory() -> TreeMemory:
    """Memory of this process and its children now.

    Proportional set size: a page that n processes share counts an n-th in each of them, once in
    all. Pages of files are left out where the system tells them apart (Linux 5.4): those of
    libraries are shared with processes that have nothing to do with this one, and would move the
    figure by tens of MiB whenever one of those starts or ends. Where it tells none of this: pages
    of each process alone, else its resident ones. Reading takes about 15 ms for a process of
    800 MiB.
    """
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    for quantity in ("pss", "uss"):
        try:
            sizes = [_size(process, quantity) for process in processes]
        except (AttributeError, psutil.AccessDenied):
            continue
        return TreeMemory(sum(sizes) / MIB, quantity)
    return TreeMemory(resident_mib(), "rss")


def _size(process: psutil.Process, quantity: str) -> int:
    try:
        if quantity == "pss" and (size := _without_files(process.pid)) is not None:
            return size
        return int(getattr(process.memory_full_info(), quantity))
    except (psutil.NoSuchProcess, psutil.ZombieProcess):  # it ended meanwhile
        return 0


def _without_files(pid: int) -> int | None:
    """Proportional set size without pages of files, bytes; None where /proc does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem"))]
    return 1024 * sum(sizes) if len(sizes) == 2 else None


class Tree:
    """Samples the memory of this process and its children, MiB."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.kind: Literal["pss", "uss", "rss"] = "rss"
        self._pid = os.getpid()
        self._shared_mib = 0.0
        self._anonymous: dict[int, float] = {}
        self._resident = 0.0
        self._due = 0.0

    def sample(self) -> float:
        """The tree's memory: of this process the peak since the last sample, of others now."""
        status = _statuses(self._pid)
        grown = 0.0
        if self._pid in status:
            peak = status[self._pid].get("VmHWM", 0.0) if _reset_peak() else 0.0
            now = status[self._pid]
            grown = max(
                now["RssAnon"] - self._anonymous.get(self._pid, now["RssAnon"]),
                peak - now["RssFile"] - self._resident if self._resident else 0.0,
            )
            grown += sum(
                sizes["RssAnon"] - self._anonymous[pid]
                for pid, sizes in status.items()
                if pid != self._pid and pid in self._anonymous
            )
        total = self._shared_mib + grown
        if status.keys() != self._anonymous.keys() or time.perf_counter() >= self._due:
            total = max(total, self._read())
        self.peak = max(self.peak, total)
        return total

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what this process allocates inside.

        Shared pages are not read for it: read more often than without pauses, they would show what
        the other readings miss.
        """
        self.sample()
        before = _status(self._pid)
        yield
        after = _status(self._pid)
        if before and after and self._pid in self._anonymous:
            kept = after["RssAnon"] - before["RssAnon"]
            self._anonymous[self._pid] += kept
            self._resident += kept
        _reset_peak()

    def _read(self) -> float:
        start = time.perf_counter()
        self._shared_mib, self.kind = tree_memory()
        status = _statuses(self._pid)
        self._anonymous = {pid: sizes["RssAnon"] for pid, sizes in status.items()}
        now = status.get(self._pid)
        self._resident = now["VmRSS"] - now["RssFile"] if now else 0.0
        end = time.perf_counter()
        self._due = end + max(0.25, _SHARED_PAGES_PAUSE * (end - start))
        return self._shared_mib


def _tree_pids(pid: int) -> list[int]:
    """This process's number and its children's; itself alone where /proc does not tell."""
    pids = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            for child in children:
                pids += _tree_pids(int(child))
    except OSError:  # it ended meanwhile
        pass
    return pids


def _statuses(pid: int) -> dict[int, dict[str, float]]:
    """The `_status` of this process and its children, by number, of those that still run."""
    return {each: sizes for each in _tree_pids(pid) if (sizes := _status(each))}


def _status(pid: int) -> dict[str, float]:
    """VmHWM, VmRSS, RssAnon, RssFile of a process, MiB; empty where it ended or is not in /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    values = {
        name: int(value.split()[0]) / 1024
        for name, value in (line.split(":", 1) for line in lines if ":" in line)
        if name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")
    }
    return values if "RssAnon" in values else {}  # a process that ended has no memory


def _reset_peak() -> bool:
    """Set the kernel's peak of this process (VmHWM) back to now; False where it does not."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident_mib() -> float:
    """Resident memory of this process and its children, MiB; shared pages count in each."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total / MIB
