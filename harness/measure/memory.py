"""Peak memory of a GPU or of a process and its children."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from harness.measure.allocator import release_freed_blocks
from harness.measure.process_memory import MIB, Tree, TreeMemory, tree_memory

if TYPE_CHECKING:
    import torch


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


def baseline() -> TreeMemory:
    """The memory that is there before a run builds anything, freed blocks given back first.

    An earlier run in the same process would otherwise leave freed blocks in it that this run
    fills again unseen. Torch's compiler, some 75 MiB, which torch imports at an optimiser's first
    step and other libraries as it happens, is there by then in every process.
    """
    import torch._dynamo  # noqa: F401

    gc.collect()
    release_freed_blocks()
    return tree_memory()


class PeakMemory:
    """Peak memory while the context is open, in MiB.

    On a GPU: what torch allocated, and what it reserved; `baseline` counts for nothing.

    On a CPU: memory of this process and its children (the loader's workers) above `baseline`,
    which the caller takes before networks and data are built; `peak_mib` is the whole. Every
    `interval` seconds a thread adds to the last reading of the tree's proportional set size what
    each process's own (anonymous) pages grew by since, which takes some 0.3 ms; of this process,
    the kernel's own peak since the last sample (VmHWM less pages of files, set back through
    clear_refs) takes their place, so that no peak of it is missed however short. The proportional
    set size itself is read anew whenever a process starts or ends, else so seldom that it takes
    0.5 % of the time (4 times a second at most). Workers' peaks shorter than `interval` are missed.
    Without /proc there are only those readings.
    """

    kind: MemoryKind

    def __init__(
        self,
        device: torch.device | str,
        interval: float = 0.1,
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
        self._tree = Tree()
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
        """What the process allocates inside, and frees again, counts for nothing."""
        if self.on_gpu:
            import torch

            self._earlier = self.state_dict()
            yield
            torch.cuda.empty_cache()  # blocks that it reserved
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        with self._sampling, self._tree.paused():
            yield

    def state_dict(self) -> dict[str, Any]:
        """The peak so far and what it is made of."""
        if self._earlier_is_higher():
            return self._earlier
        if self.on_gpu:
            return {"kind": self.kind, "mib": self._own_mib(), "reserved_mib": self._reserved_mib()}
        return {
            "kind": _ABOVE_BASELINE[self._tree.kind],
            "mib": self._own_mib(),
            "peak_mib": self._tree.peak,
            "baseline_mib": self._floor_mib(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The peak of an interrupted try counts where it is of the same kind and the higher one."""
        self._earlier = state

    @staticmethod
    def of_all(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What stands for the processes of a training: the one with the highest peak."""
        return max(states, key=lambda state: state["mib"])

    def _take(self, state: dict[str, Any]) -> None:
        self.mib = state["mib"]
        self.peak_mib, self.baseline_mib = state.get("peak_mib"), state.get("baseline_mib")
        self.reserved_mib = state.get("reserved_mib")

    def _earlier_is_higher(self) -> bool:
        memory_kind = self.kind if self.on_gpu else _ABOVE_BASELINE[self._tree.kind]
        return self._earlier.get("kind") == memory_kind and self._earlier["mib"] > self._own_mib()

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
