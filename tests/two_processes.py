"""Steps of every method in one process and in two, for their gradients to be compared.

In 64 bits throughout: no rounding hides a difference, or sends a value to the other side of a
threshold.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import small_network
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.config.catalogue import profile
from harness.training.distributed import free_port, variables
from harness.training.trainer import Trainer
from methods import registry
from methods.contract import Batch, Method
from methods.networks import zoo
from methods.networks.encoders.mit import DropPath
from methods.parts import joined
from methods.parts.joined_norm import join_norms
from methods.testing.tools import Subject

COMBINATIONS = ("dualkd+mic", "dualkd+hrda+mic", "dacs+mic", "mic+duda", "hrda+clda")
PROCESSES = 2
#: Steps, and samples of the joined batch of each.
STEPS, SAMPLES = 2, 4
#: All that a method draws or does in a part of its schedule only, from the first step on; some
#: pseudo-labels of a random network count, and some do not.
KNOBS = {
    "jitter_probability": 1.0,
    "blur_probability": 1.0,
    "pseudo_threshold": 0.06,
    "mask_block": 8,
    "finetune_start": 0.0,
    "collaborate_start": 0.0,
}


class Case(NamedTuple):
    method: str
    knobs: dict[str, Any]

    def __str__(self) -> str:
        return " ".join([self.method, *self.knobs])


CASES = [
    *(Case(name, {}) for name in (*registry.names(), *COMBINATIONS)),
    Case("mic", {"mask_source": True}),
    Case("dacs", {"source_mean_over_valid": True, "mix_ignore": False}),
]


def batch(subject: Subject, step: int) -> Batch:
    """This process's rows of the joined batch of a step."""
    parts = [subject.batch(step * SAMPLES + number) for number in range(SAMPLES // 2)]

    def rows(name: str) -> Tensor | None:
        if getattr(parts[0], name) is None:
            return None
        values = joined.own_rows(torch.cat([getattr(part, name) for part in parts]))
        return values.double() if values.is_floating_point() else values

    names = ("source_image", "source_label", "target_image", "target_label")
    return Batch(*map(rows, names))  # type: ignore[arg-type]


def gradients(case: Case) -> dict[str, Tensor]:
    """Of every parameter at every step, and what the method holds after the last, by name."""
    method_class = registry.load(case.method)
    fields = method_class.Config.model_fields
    knobs = {k: v for k, v in (KNOBS | case.knobs).items() if k in fields}
    subject = Subject(method_class, small_network.NAME, "all terms", knobs)
    method = subject.make().double()
    draw_nothing_from_torch(method)
    if joined.processes() > 1:
        assert not join_norms(method)
    sgd = profile("tiny").model_copy(
        update={"optimiser": "sgd", "iterations": 4, "warmup": 0, "precision": "fp32"}
    )
    trainer = Trainer(method, sgd, torch.device("cpu"))
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    kept = {}
    for step in range(STEPS):
        trainer.step([batch(subject, step)], step)
        for parameter in trainer.parameters():
            if parameter.grad is not None:
                kept[f"step {step}/{names[id(parameter)]}"] = parameter.grad.clone()
    return kept | {f"state/{name}": value.clone() for name, value in method.state_dict().items()}


def draw_nothing_from_torch(method: Method) -> None:
    """Dropout and drop-path draw from torch's generator, of which each process has its own."""
    for module in method.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | DropPath):
            module.p = 0.0


def all_gradients() -> dict[str, Tensor]:
    zoo.NETWORKS[small_network.NAME] = small_network.SPEC
    torch.set_num_threads(1)
    before, to_float = torch.get_default_dtype(), torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    try:
        return {f"{case}: {k}": v for case in CASES for k, v in gradients(case).items()}
    finally:
        torch.set_default_dtype(before)
        torch.Tensor.float = to_float  # type: ignore[method-assign]
        del zoo.NETWORKS[small_network.NAME]


def write_gradients(folder: Path) -> None:
    """What one of the processes does, those of all cases."""
    dist.init_process_group("gloo")
    save_file(all_gradients(), folder / os.environ["RANK"])
    dist.destroy_process_group()


def left_in(folder: Path) -> list[dict[str, Tensor]]:
    """What each process found, by rank."""
    return [load_file(folder / str(rank)) for rank in range(PROCESSES)]


def started(function: Callable[..., object], *arguments: object) -> list[BaseProcess]:
    """Processes of a group, forks of this one, that call the function."""
    port = free_port()
    processes = [
        multiprocessing.get_context("fork").Process(
            target=_call, args=(rank, port, function, arguments)
        )
        for rank in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    return processes


def ended(processes: list[BaseProcess]) -> list[int | None]:
    """Their exit codes, by rank."""
    for process in processes:
        process.join(timeout=300)
    return [process.exitcode for process in processes]


def _call(rank: int, port: int, function: Callable[..., object], arguments: tuple) -> None:
    os.environ |= variables(rank, PROCESSES, port)
    function(*arguments)


def worst(one: dict[str, Tensor], other: dict[str, Tensor], prefix: str) -> float:
    """The largest difference of a tensor's values, relative to its largest one.

    Tensors of rounding alone are left out: the bias of a convolution before a batch norm.
    """
    largest = max(float(v.abs().max()) for k, v in one.items() if k.startswith(prefix))
    return max(
        float((value - other[key]).abs().max() / value.abs().max())
        for key, value in one.items()
        if key.startswith(prefix) and float(value.abs().max()) > 1e-9 * largest
    )
