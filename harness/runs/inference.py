"""Inference speed: a property of a network and a machine, measured once, alone, apart."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from harness.config.network_files import register
from harness.config.schema import Profile
from harness.data.cache import SPEEDS, cache_dir, keep_bounded, mark_used
from harness.errors import BenchError
from harness.files import content_hash, read_json, read_text, write_text
from harness.locks import one_at_a_time
from harness.measure import environment, fingerprint
from harness.measure.inference_speed import measure_inference
from harness.processes import ending
from harness.records.schema import Inference
from harness.runs import launchers
from harness.training.precision import set_float32
from methods.networks import zoo

#: Images a batch of the throughput's measurement.
BATCH = 4


def inference_speed(
    network: str,
    classes: int,
    size: tuple[int, int],
    device: torch.device,
    profile: Profile,
    configs: dict[str, dict[str, Any]],
) -> Inference:
    """The speed of a network of so many classes on images of `size` (height, width).

    It comes from the cache where it is known.

    It is measured in a process of its own, one at a time on this machine, at random weights, and
    kept by network, size, precision, TF32, threads, device and code. BenchError where that fails.
    """
    question = {
        "network": network,
        "classes": classes,
        "configs": configs,
        "size": list(size),
        "precision": profile.precision,
        "tf32": profile.tf32,
        "threads": (profile.threads or torch.get_num_threads()) if device.type == "cpu" else 0,
        "device": str(device),
    }
    known_by = {
        **question,
        "made_by": fingerprint.made_by(device, profile.precision, profile.tf32),
        "hardware": _hardware(device),
    }
    folder = cache_dir() / "inference"
    path = folder / f"{content_hash(known_by)}.json"
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / ".lock"):
        if not path.is_file():
            _measure_apart(question, path)
            keep_bounded(SPEEDS)
        mark_used(path)
        try:
            return Inference.model_validate_json(read_text(path))
        except ValueError:  # cut short by a full disk
            path.unlink(missing_ok=True)
            _measure_apart(question, path)
            return Inference.model_validate_json(read_text(path))


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{environment.cpu_model()}, {environment.usable_cpus()} CPUs"


def _measure_apart(question: dict[str, Any], path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        task = Path(scratch) / "task.json"
        task.write_text(json.dumps({**question, "out": str(path)}), encoding="utf-8")
        command = launchers.command(task, "harness.runs.inference")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = ending(done.returncode, done.stderr.strip().rpartition("\n")[2])
        raise BenchError(f"its process for {question['network']} ended with {last}")


def main(path: str) -> None:
    """Measure what a task's file asks for, and write it where that says."""
    task = read_json(Path(path))
    device = torch.device(task["device"])
    set_float32(task["tf32"])
    if task["threads"] and device.type == "cpu":
        torch.set_num_threads(task["threads"])
    register(task["configs"])
    network = zoo.build(task["network"], task["classes"]).to(device)
    speed = measure_inference(network, tuple(task["size"]), device, task["precision"], BATCH)
    write_text(Path(task["out"]), speed.model_dump_json())


if __name__ == "__main__":
    main(sys.argv[1])
