"""Energy that a GPU drew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Energy:
    """Energy the GPU drew while the context is open, in kJ; None where NVML does not tell.

    What it draws in pauses is left out, what it drew in an interrupted try is added.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self.kj: float | None = None
        self._earlier: float | None = 0.0

    def __enter__(self) -> Energy:
        self._start = gpu_energy_mj(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        self.kj = self._drawn()

    @contextmanager
    def paused(self) -> Iterator[None]:
        before = gpu_energy_mj(self.device)
        yield
        after = gpu_energy_mj(self.device)
        if self._start is not None and before is not None and after is not None:
            self._start += after - before

    def state_dict(self) -> dict[str, Any]:
        return {"kj": self._drawn()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was drawn before now; None where that is not known."""
        self._earlier = state["kj"]
        self._start = gpu_energy_mj(self.device)

    @staticmethod
    def of_all(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What the GPUs of a training drew together; None where one of them does not tell."""
        drawn = [state["kj"] for state in states]
        return {"kj": None if None in drawn else sum(drawn)}

    def _drawn(self) -> float | None:
        now = gpu_energy_mj(self.device)
        if self._earlier is None or self._start is None or now is None:
            return None
        return self._earlier + (now - self._start) / 1e6


def gpu_energy_mj(device: torch.device | str) -> int | None:
    """The GPU's energy counter in mJ since the driver was loaded (Volta and newer)."""
    if not str(device).startswith("cuda"):
        return None
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        # By UUID: CUDA_VISIBLE_DEVICES renumbers torch's devices, not NVML's.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except pynvml.NVMLError:
        return None
