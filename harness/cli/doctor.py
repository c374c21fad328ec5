"""Whether this machine can run the benchmark: what was found, and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import psutil

from harness.files import existing, free_bytes
from harness.measure.environment import cpu_model, driver_version, usable_cpus, version

if TYPE_CHECKING:
    from rich.console import Console

State = Literal["ok", "warn", "bad"]
GIB = 2**30
#: What mmsegmentation imports, declared by it or not: module -> package.
MMSEG_NEEDS = {"mmengine": "mmengine", "mmcv": "mmcv-lite", "ftfy": "ftfy", "regex": "regex"}


class Diagnosis(NamedTuple):
    topic: str
    state: State
    detail: str
    advice: str = ""


def examine(data_root: Path | None = None, cache: Path | None = None) -> list[Diagnosis]:
    """Look at everything a run needs. Changes nothing; an import that fails is a finding."""
    from harness.data.cache import cache_dir

    cache = cache or cache_dir()
    return [
        Diagnosis("python", "ok", platform.python_version()),
        torch_and_torchvision(),
        gpu(),
        mmsegmentation(),
        *data_sets(data_root),
        cache_folder(cache),
        disk(cache),
        processor(),
        memory(),
        *shared_memory(),
    ]


def render(findings: Iterable[Diagnosis], console: Console) -> None:
    """Print one line a finding, and its advice below."""
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "bad": "bold red"}
    for finding in findings:
        line = Text.assemble(
            (f"{finding.state:<5}", styles[finding.state]),
            (f"{finding.topic:<16}", "bold"),
            finding.detail,
        )
        console.print(line)
        if finding.advice:
            console.print(Text(f"{'':<21}-> {finding.advice}"), style="dim")


def torch_and_torchvision() -> Diagnosis:
    """Both import in one process: builds that do not belong together fail here."""
    versions = f"torch {version('torch')}, torchvision {version('torchvision')}"
    error = failure("torch", "torchvision")
    if error is None:
        return Diagnosis("torch", "ok", versions)
    advice = "install torch and torchvision together, from one index, so that their builds match"
    return Diagnosis("torch", "bad", f"{versions}: {error}", advice)


def gpu() -> Diagnosis:
    """The GPU as torch reports it, its driver, and whether it computes in bf16."""
    driver = driver_version()
    if failure("torch"):
        state = f"driver {driver or 'none'}; torch does not import"
        return Diagnosis("gpu", "warn", state, "repair the torch installation first")
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        count = torch.cuda.device_count()
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16: use --set precision=fp16"
        device = f"{count} x {properties.name}, {properties.total_memory / GIB:.0f} GiB"
        return Diagnosis(
            "gpu", "ok", f"{device}, driver {driver}, CUDA {torch.version.cuda}, {bf16}"
        )
    if driver is None:
        return Diagnosis("gpu", "warn", "none: runs on the CPU", "profile tiny is made for that")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
    return Diagnosis(
        "gpu",
        "bad",
        f"driver {driver} is there, but torch, built for {build}, finds no GPU",
        "install a torch built for a CUDA that this driver supports; look at CUDA_VISIBLE_DEVICES",
    )


def mmsegmentation() -> Diagnosis:
    """mmsegmentation and what it needs to be imported."""
    missing = [name for module, name in MMSEG_NEEDS.items() if failure(module)]
    if missing:
        advice = f"pip install {' '.join(missing)}"
        return Diagnosis("mmsegmentation", "bad", f"cannot import: {', '.join(missing)}", advice)
    error = failure("mmseg")
    if error:
        advice = 'pip install "mmsegmentation==1.2.2" "mmcv-lite<2.2"'
        return Diagnosis("mmsegmentation", "bad", error, advice)
    mmcv = version("mmcv") or version("mmcv-lite")
    return Diagnosis("mmsegmentation", "ok", f"{version('mmsegmentation')}, mmcv {mmcv}")


def data_sets(root: Path | None) -> list[Diagnosis]:
    """Which data sets lie under the root; none is needed for generated data."""
    if root is None:
        advice = "give --data-root FOLDER to look for real data sets"
        return [Diagnosis("data", "ok", "no data root: generated data only", advice)]
    if not root.is_dir():
        return [
            Diagnosis("data", "bad", f"{root} is not a folder", "mount it, or correct the path")
        ]
    from harness.config import catalogue
    from harness.data.datasets import has_dataset

    there = {name: has_dataset(name, root) for name in catalogue.names("datasets")}
    found = [Diagnosis(name, "ok", "found") for name, present in there.items() if present]
    others = [name for name, present in there.items() if not present]
    if not others:
        return found
    detail, advice = f"not under {root}: {', '.join(others)}", "see docs/data.md for their folders"
    if found:
        return [*found, Diagnosis("other data", "ok", detail, advice)]
    return [Diagnosis("data", "warn", detail, advice)]


def cache_folder(folder: Path) -> Diagnosis:
    """Generated images and class statistics are kept in the cache: it has to be writable."""
    there = existing(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Diagnosis("cache", "ok", str(folder))
    return Diagnosis("cache", "bad", f"{folder} is not writable", "set UDA_BENCH_CACHE to a folder")


def disk(folder: Path, enough_gib: float = 10) -> Diagnosis:
    """Free space where the cache lies."""
    free = free_bytes(folder) / GIB
    if free >= enough_gib:
        return Diagnosis("disk", "ok", f"{free:.0f} GiB free")
    return Diagnosis(
        "disk", "warn", f"{free:.1f} GiB free", f"{enough_gib:g} GiB keep checkpoints of a sweep"
    )


def processor() -> Diagnosis:
    """The CPU, and how much of it this process may use."""
    usable, cores = usable_cpus(), psutil.cpu_count() or 1
    return Diagnosis("processor", "ok", f"{cpu_model()}, {usable} of {cores} CPUs usable")


def memory(enough_gib: float = 4) -> Diagnosis:
    """Memory that is free now."""
    state = psutil.virtual_memory()
    available = f"{state.available / GIB:.1f} of {state.total / GIB:.1f} GiB available"
    if state.available >= enough_gib * GIB:
        return Diagnosis("memory", "ok", available)
    return Diagnosis("memory", "warn", available, "--set workers=0 needs the least")


def shared_memory(folder: Path = Path("/dev/shm"), enough_gib: float = 1) -> list[Diagnosis]:
    """The loader's workers hand batches over in shared memory, which containers keep small."""
    if not folder.is_dir():
        return []
    size = shutil.disk_usage(folder).total / GIB
    if size >= enough_gib:
        return [Diagnosis("shared memory", "ok", f"{size:.1f} GiB")]
    advice = "start the container with --shm-size=2g, or --set workers=0"
    return [Diagnosis("shared memory", "warn", f"{size:.2f} GiB", advice)]


def failure(*modules: str) -> str | None:
    """Why one of the modules does not import, None when all do."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken build raises RuntimeError, OSError, AssertionError
            first = str(error).strip().partition("\n")[0]
            return f"{module}: {type(error).__name__}: {first}"
    return None
