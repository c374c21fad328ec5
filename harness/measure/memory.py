"""Peak memory of a GPU or of a process and its children."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import psutil

if TYPE_CHECKING:
    import torch

MIB = 2**20


class PeakMemory:
    """Peak memory while the context is open, in MiB.

    On a GPU: what torch allocated, and what it reserved. On a CPU: the resident memory of this
    process and its children (the loader's workers), sampled every `interval` seconds; pages that
    they share count in each of them.
    """

    kind: Literal["gpu allocated", "cpu rss"]

    def __init__(self, device: torch.device | str, interval: float = 0.25) -> None:
        self.device = device
        self.interval = interval
        self.kind = "gpu allocated" if str(device).startswith("cuda") else "cpu rss"
        self.mib = 0.0
        self.reserved_mib: float | None = None

    def __enter__(self) -> PeakMemory:
        if self.kind == "gpu allocated":
            import torch

            torch.cuda.empty_cache()  # what an earlier run of this process left reserved
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.kind == "gpu allocated":
            import torch

            self.mib = torch.cuda.max_memory_allocated(self.device) / MIB
            self.reserved_mib = torch.cuda.max_memory_reserved(self.device) / MIB
        else:
            self._stop.set()
            self._thread.join()
            self.mib = max(self.mib, resident_mib())

    def _sample(self) -> None:
        while True:
            self.mib = max(self.mib, resident_mib())
            if self._stop.wait(self.interval):
                return


def resident_mib() -> float:
    """Resident memory of this process and its children, MiB."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total / MIB
