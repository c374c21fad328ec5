"""Energy that a GPU drew."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Energy:
    """Energy the GPU drew while the context is open, in kJ; None where NVML does not tell."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self.kj: float | None = None

    def __enter__(self) -> Energy:
        self._start = gpu_energy_mj(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        end = gpu_energy_mj(self.device)
        if self._start is not None and end is not None:
            self.kj = (end - self._start) / 1e6


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
