"""Peak memory of a GPU or of a process and its children."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import psutil

from harness.measure.allocator import release_freed_blocks

if TYPE_CHECKING:
    import torch

MIB = 2**20
#: Of this process's and its children's time, what reading their shared pages may take: 2 %.
_SHARED_PAGES_PAUSE = 50

MemoryKind = Literal[
    "gpu allocated",
    "cpu rss",  # of older records: the whole, imports included
    "cpu pss above baseline",
    "cpu uss above baseline",
    "cpu rss above baseline",
]

_ABOVE_BASELINE: dict[str, MemoryKind] = {
    "pss": "cpu pss above baseline",
    "uss": "cpu uss above baseline",
    "rss": "cpu rss above baseline",
}


class TreeMemory(NamedTuple):
    """Memory of this process and its children, MiB."""

    mib: float
    kind: Literal["pss", "uss", "rss"]


def baseline() -> TreeMemory:
    """The memory that is there before a run builds anything, freed blocks given back first.

    An earlier run in the same process would otherwise leave freed blocks in it that this run
    fills again unseen.
    """
    gc.collect()
    release_freed_blocks()
    return tree_memory()


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


class PeakMemory:
    """Peak memory while the context is open, in MiB.

    On a GPU: what torch allocated, and what it reserved; `baseline` counts for nothing.

    On a CPU: memory of this process and its children (the loader's workers) above `baseline`,
    which the caller takes before networks and data are built; `peak_mib` is the whole. Every
    `interval` seconds a thread adds to the last reading of the tree's proportional set size what
    each process's own (anonymous) pages grew by since, which takes under 1 ms; of this process,
    the kernel's own peak since the last sample (VmHWM less pages of files, set back through
    clear_refs) takes their place, so that no peak of it is missed however short. The proportional
    set size itself is read anew whenever a process starts or ends, else so seldom that it takes
    2 % of the time (4 times a second at most). Workers' peaks shorter than `interval` are missed.
    Without /proc there are only those readings.
    """

    kind: MemoryKind

    def __init__(
        self,
        device: torch.device | str,
        interval: float = 0.02,
        *,
        baseline: TreeMemory | None = None,
    ) -> None:
        self.device = device
        self.interval = interval
        self.baseline = baseline
        self.kind = "gpu allocated"
        self.mib = 0.0
        self.peak_mib: float | None = None
        self.baseline_mib: float | None = None
        self.reserved_mib: float | None = None
        self._earlier: dict[str, Any] = {}

    @property
    def on_gpu(self) -> bool:
        return str(self.device).startswith("cuda")

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.on_gpu:
            import torch

            torch.cuda.empty_cache()  # what an earlier run of this process left reserved
            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        release_freed_blocks()
        self._tree = _Tree()
        self._first = self._tree.sample()
        self._sampling = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.on_gpu:
            self.reserved_mib = self._reserved_mib()
        else:
            self._stop.set()
            self._thread.join()
            self._tree.sample()
            self.baseline_mib = self._floor_mib()
            self.peak_mib = self._tree.peak
            self.kind = _ABOVE_BASELINE[self._tree.kind]
        self.mib = self._own_mib()
        if self._earlier_is_higher():
            self._take(self._earlier)

    def so_far_mib(self) -> float:
        """The peak until now, as `mib` holds it at the end; nothing is read anew for it."""
        return self._earlier["mib"] if self._earlier_is_higher() else self._own_mib()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What a CPU's process allocates inside, and frees again, counts for nothing."""
        if self.on_gpu:
            yield
            return
        with self._sampling, self._tree.paused():
            yield

    def state_dict(self) -> dict[str, Any]:
        """The peak so far and what it is made of."""
        if self._earlier_is_higher():
            return self._earlier
        if self.on_gpu:
            return {"kind": self.kind, "mib": self._own_mib(), "reserved_mib": self._reserved_mib()}
        kind = _ABOVE_BASELINE[self._tree.kind]
        peak, floor = self._tree.peak, self._floor_mib()
        return {"kind": kind, "mib": self._own_mib(), "peak_mib": peak, "baseline_mib": floor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The peak of an interrupted try counts where it is of the same kind and the higher one."""
        self._earlier = state

    def _take(self, state: dict[str, Any]) -> None:
        self.mib = state["mib"]
        self.peak_mib, self.baseline_mib = state.get("peak_mib"), state.get("baseline_mib")
        self.reserved_mib = state.get("reserved_mib")

    def _earlier_is_higher(self) -> bool:
        kind = self.kind if self.on_gpu else _ABOVE_BASELINE[self._tree.kind]
        return self._earlier.get("kind") == kind and self._earlier["mib"] > self._own_mib()

    def _reserved_mib(self) -> float:
        import torch

        return torch.cuda.max_memory_reserved(self.device) / MIB

    def _own_mib(self) -> float:
        """The peak of this context alone."""
        if self.on_gpu:
            import torch

            return torch.cuda.max_memory_allocated(self.device) / MIB
        return max(0.0, self._tree.peak - self._floor_mib())

    def _floor_mib(self) -> float:
        """What does not count: the caller's baseline where it is of the kind that is read now."""
        if self.baseline and self.baseline.kind == self._tree.kind:
            return self.baseline.mib
        return self._first

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            with self._sampling:
                self._tree.sample()


class _Tree:
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
