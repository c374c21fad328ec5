"""What a run ran on: commit, versions, processor, GPU, flags. Holds no names and no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from harness import PROTOCOL, __version__
from harness.errors import BenchError
from harness.measure.fingerprint import code_fingerprint, environment_fingerprint, tf32

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "torch", "torchvision", "timm", "mmsegmentation", "mmcv-lite", "mmengine", "numpy",
    "opencv-python", "pillow",
)  # fmt: skip
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED")
ROOT = Path(__file__).resolve().parents[2]
_CPUINFO = Path("/proc/cpuinfo")


def collect(
    device: torch.device | str | None = None,
    precision: str = "fp32",
    side_by_side: int = 1,
) -> dict[str, Any]:
    """Gather all of it as one JSON-able dictionary; see docs/records.md for the fields.

    `device` is the one that a run used: `gpu` is None unless it was one. `precision` is the
    profile's; `side_by_side` counts the runs that the machine was given at a time, this one too.
    """
    return {
        "code": {
            "version": __version__,
            "protocol": PROTOCOL,
            **checkout(ROOT),
            "fingerprint": code_fingerprint(),
        },
        "environment": environment_fingerprint(device, precision),
        "side_by_side": side_by_side,
        "versions": {"python": platform.python_version(), **_versions()},
        "cpu": {
            "model": cpu_model(),
            "cores": psutil.cpu_count(logical=False),
            "threads": psutil.cpu_count(),
            "usable": usable_cpus(),
        },
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": gpu(device) if str(device).startswith("cuda") else None,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "flags": _flags(),
    }


def checkout(root: Path) -> dict[str, Any]:
    """The commit of the checkout whose top is `root`, and whether files differ from it.

    Both None elsewhere: an installed package may lie inside another project's repository.
    """
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return {"commit": None, "dirty": None}
    # The records that runs write are in git too: they make no run after them a dirty one.
    changes = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return {"commit": git(root, "rev-parse", "HEAD"), "dirty": changes != ""}


def cpu_model() -> str:
    """The processor's model as the system names it.

    Virtual machines may call several processors `AMD EPYC`, of which one takes 0.65 of the time
    of another: where the name has no number, family and model stand behind it.
    """
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    said = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    name = said.get("model name") or platform.processor() or platform.machine()
    family, model = said.get("cpu family"), said.get("model")
    if re.search(r"\d{3}", name) or not (family and model):
        return name
    return f"{name} (family {family}, model {model})"


def usable_cpus() -> int:
    """CPUs that this process may use, which a container or SLURM makes fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu(device: torch.device | str | None) -> dict[str, Any]:
    """That GPU, with its driver."""
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "count": torch.cuda.device_count(),
        "memory_mib": properties.total_memory // 2**20,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": driver_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def driver_version() -> str | None:
    """The NVIDIA driver's version, None where NVML is not there."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _flags() -> dict[str, Any]:
    import torch

    return {
        **{name: os.environ.get(name) for name in VARIABLES},
        "torch_threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_enabled": torch.backends.cudnn.enabled,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        **{f"tf32_{backend}": on for backend, on in tf32().items()},
        "float32_matmul_precision": _matmul_precision(),
    }


def _matmul_precision() -> str | None:
    """None where torch refuses to tell: its older and newer switches were both used."""
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _versions() -> dict[str, str | None]:
    return {name: version(name) for name in PACKAGES}


def version(package: str) -> str | None:
    """An installed package's version, read without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git(folder: Path, *arguments: str) -> str | None:
    """What git prints for a folder; None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def choose_device(name: str | None = None) -> torch.device:
    """The device asked for; else a GPU where there is one. BenchError when it is not there."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BenchError(f"--device {name}: expected cpu, cuda or cuda:NUMBER.") from error
    gpus = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda"):
        raise BenchError(f"--device {name}: expected cpu, cuda or cuda:NUMBER.")
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise BenchError(
            f"--device {name}: torch finds {gpus or 'no'} GPU; expected cpu, or another number. "
            "`bench doctor` says why."
        )
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # so that pinned memory opens no other GPU
    return device
