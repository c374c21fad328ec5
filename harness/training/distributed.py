"""Several processes that train one method, one device each: how they meet, agree and fail together.

They find each other by the variables that torchrun sets too: RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR and MASTER_PORT. In a process of its own each function here gives back what it was
given. What a step sends is in methods/parts/joined.py.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.errors import BenchError, explained, in_one_line
from methods.parts.joined import processes, rank
from methods.parts.joined_norm import JoinedNorm

Value = TypeVar("Value")

#: Of a wait for another process, which may be drawing scenes or training a frozen teacher.
PATIENCE = timedelta(days=7)
MEETING = timedelta(minutes=10)
#: What the first process to fail says of it, and how long the others wait for its word.
FAILED, WORD = "uda-bench/failed", 10.0

_store: Any = None


def asked() -> int:
    """How many processes the environment names; 1 where it names none."""
    world = os.environ.get("WORLD_SIZE", "1")
    return int(world) if "RANK" in os.environ and world.isdecimal() else 1


def own_rank() -> int:
    """Which of them this one is, before they have met."""
    return int(os.environ["RANK"]) if asked() > 1 else 0


def variables(number: int, count: int, port: int) -> dict[str, str]:
    """What the environment of process `number` of `count` holds, all on one machine or, of a group
    that torchrun has started, each on its own."""
    kept = {name: os.environ[name] for name in ("LOCAL_RANK", "MASTER_ADDR") if name in os.environ}
    return {
        "LOCAL_RANK": str(number),
        "MASTER_ADDR": "127.0.0.1",
        **(kept if asked() > 1 else {}),
        "RANK": str(number),
        "WORLD_SIZE": str(count),
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "False",  # torchrun's is at another port
    }


def free_port() -> int:
    """A port of this machine that nobody listens to now."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def own_device(name: str | None) -> str | None:
    """The device of this process where several train: its own GPU, or all on the CPU.

    BenchError for a GPU by its number.
    """
    if asked() == 1 or name == "cpu" or not torch.cuda.is_available():
        return name
    if name not in (None, "cuda"):
        raise BenchError(
            f"--device {name} with {asked()} devices: expected cpu, or cuda, of which each process "
            "takes the GPU of its number."
        )
    return f"cuda:{os.environ.get('LOCAL_RANK', os.environ['RANK'])}"


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Inside, the processes that the environment names are a group. BenchError where they do not
    meet, and in each of them where another fails."""
    global _store
    if asked() == 1 or processes() > 1:
        yield
        return
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        _store, own, world = next(dist.rendezvous("env://", timeout=MEETING))
        store = dist.PrefixStore("uda-bench", _store)
        dist.init_process_group(backend, store=store, rank=own, world_size=world, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise BenchError(
            f"the {asked()} processes of this run do not meet ({in_one_line(error)}); expected "
            "RANK, MASTER_ADDR and MASTER_PORT as torchrun sets them, and a port that is free."
        ) from error
    try:
        with failing_together():
            yield
            if rank() == 0:
                ask("end")
    finally:
        with suppress(RuntimeError):  # of a connection that another process has closed
            dist.destroy_process_group()
        _store = None


@contextmanager
def failing_together() -> Iterator[None]:
    """An error that only says that another process is gone becomes that one's own error."""
    if processes() == 1:
        yield
        return
    try:
        yield
    except Exception as error:
        if not _of_a_connection(error):
            reason = explained(error) or in_one_line(error)
            tell_failure(_store, f"process {rank()} of {processes()}: {reason}")
            raise
        raise BenchError(failure()) from error


def _of_a_connection(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text)
    )


def tell_failure(store: Any, reason: str) -> None:
    """Leave it for the other processes, unless one has failed before."""
    with suppress(RuntimeError):  # the process that holds the store is gone
        store.compare_set(FAILED, "", reason)


def failure() -> str:
    """Why another process failed, in one line; waits a moment for its word."""
    until = time.monotonic() + WORD
    with suppress(RuntimeError):  # the process that holds the store is gone
        while time.monotonic() < until:
            if _store.check([FAILED]):
                return _store.get(FAILED).decode("utf-8", "replace")
            time.sleep(0.1)
    return "another process of this run ended without a word, perhaps out of memory"


def share(value: Value) -> Value:
    """What rank 0 gives, in every process."""
    if processes() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
    return box[0]


def ask(what: str, *details: Any) -> None:
    """Let the other processes of this run, which wait for it, do their part of something."""
    share((what, details))


def everyones(value: Value) -> list[Value]:
    """What every process gives, by rank."""
    if processes() == 1:
        return [value]
    values: list[Any] = [None] * processes()
    dist.all_gather_object(values, value)
    return values


def largest(number: int) -> int:
    """The largest that any process gives."""
    if processes() == 1:
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    largest(0)


def copy_(tensor: Tensor) -> Tensor:
    """Set a tensor to what it is in rank 0; every process's is of its shape and type."""
    if processes() > 1 and tensor.numel():
        flat = tensor.detach().contiguous().reshape(-1)
        dist.broadcast(flat.view(torch.uint8), 0)
        if flat.data_ptr() != tensor.data_ptr():  # else it is the tensor's own memory
            with torch.no_grad():
                tensor.copy_(flat.view(tensor.shape))
    return tensor


def copy_weights(network: nn.Module) -> None:
    """Set parameters and buffers to those of rank 0."""
    for value in network.state_dict().values():
        if isinstance(value, Tensor):
            copy_(value)


def check_alike(method: nn.Module) -> None:
    """BenchError unless what the method holds is bit for bit the same in every process.

    Compared are sums of bits, which cost a fraction of a step; left out are the running statistics
    of batch norms that each process has its own of.
    """
    if processes() == 1:
        return
    own = tuple(
        f"{name}."
        for name, module in method.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, JoinedNorm)
    )
    learning = {name for name, _ in method.named_parameters()}
    held = {
        name: value
        for name, value in method.state_dict().items()
        if isinstance(value, Tensor) and (name in learning or not name.startswith(own))
    }
    sums = everyones(torch.stack([_bits(value) for value in held.values()]).tolist())
    for number, theirs in enumerate(sums):
        for name, first, its in zip(held, sums[0], theirs, strict=True):
            if first != its:
                raise BenchError(
                    f"{name} became another in process {number} than in process 0; expected a "
                    "method that learns alike in all: what it draws or counts is to be the joined "
                    "batch's (docs/gpus.md). Train it on one device: --devices 1."
                )


def _bits(tensor: Tensor) -> Tensor:
    """The sum () of a tensor's bits, read as integers."""
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.int32 if flat.element_size() >= 4 else torch.uint8).sum(
        dtype=torch.int64
    )
