"""A run of several processes, a device each: how they are started, and the others' part in it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from harness.config.planning import Plan
from harness.data.sources import Role
from harness.errors import BenchError
from harness.evaluation.scoring import score
from harness.measure.allocator import keep_freed_blocks
from harness.measure.memory import baseline
from harness.measure.process_memory import TreeMemory
from harness.processes import ending
from harness.records.schema import Record
from harness.runs import launchers
from harness.runs.launchers import Task
from harness.runs.run import run
from harness.runs.teachers import train_apart
from harness.runs.training import build_method, check_data, new_student, train
from harness.runs.workplace import Workplace
from harness.signals import Stop
from harness.training.distributed import (
    asked,
    copy_weights,
    free_port,
    share,
    tell_failure,
    together,
    variables,
)
from harness.training.precision import computing_threads, set_float32
from methods.contract import Method
from methods.networks import zoo
from methods.networks.lora import merge_adapters
from methods.parts.joined import rank

#: Seconds between two looks at the processes, and until those are ended that one has left behind.
LOOK_EVERY, GRACE = 0.1, 30.0


def check_devices(count: int, device: torch.device) -> None:
    """BenchError where so many devices are not there, or a number of processes was started."""
    if asked() not in (1, count):
        raise BenchError(
            f"--devices {count}: {asked()} processes were started (WORLD_SIZE); expected as many."
        )
    gpus = torch.cuda.device_count()
    if device.type == "cuda" and asked() == 1 and count > max(gpus, 1):
        raise BenchError(
            f"--devices {count}: {gpus} GPU{'s' if gpus != 1 else ''} found (CUDA_VISIBLE_DEVICES "
            f"counts); expected --devices {gpus} or less, or --device cpu."
        )


def run_on_devices(task: Task, count: int, stop: Stop) -> int:
    """Carry out a task in so many processes of this machine -> the exit code.

    The first has this one's terminal; the others are silent. BenchError where it was killed;
    Interrupted after a signal, which goes on to all.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "task.json"
        path.write_text(task.model_dump_json(), encoding="utf-8")
        # More threads than cores would wait for each other.
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
        processes = []
        for number in range(count):
            silent = None if number == 0 else subprocess.DEVNULL
            process = subprocess.Popen(
                launchers.command(path),
                env={**threads, **os.environ, **variables(number, count, port)},
                stdout=silent,
                stderr=silent,
            )
            stop.forward(process)
            processes.append(process)
        try:
            with stop.held():
                codes = _wait(processes, port, stop)
        except BaseException:
            for process in processes:
                process.terminate()
            raise
    if codes[0] < 0:
        raise BenchError(f"process 0 of {count}: {ending(codes[0])}")
    return codes[0] or max(codes, key=abs)


def _wait(processes: list[subprocess.Popen[bytes]], port: int, stop: Stop) -> list[int]:
    """Wait for all; where one fails or rank 0 is done, end those that do not end by themselves."""
    until: float | None = None
    while None in (codes := [process.poll() for process in processes]):
        if until is None and (any(codes) or codes[0] == 0):
            until = time.monotonic() + GRACE
            killed = [(n, code) for n, code in enumerate(codes) if code is not None and code < 0]
            for number, code in killed if stop.number is None else ():
                _tell(f"process {number} of {len(codes)}: {ending(code)}", port)
        if until is not None and time.monotonic() > until:
            for process in processes:
                process.kill()
        time.sleep(LOOK_EVERY)
    return [process.returncode for process in processes]


def _tell(reason: str, port: int) -> None:
    """Say for a process that was killed why the others fail."""
    with suppress(RuntimeError):  # rank 0 is gone too
        store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=5))
        tell_failure(store, reason)


def carry_out(plan: Plan, workplace: Workplace, *, fresh: bool = False) -> Record | None:
    """Carry out a plan in this process -> its record; of several, that of rank 0 has it."""
    with together(workplace.device):
        if rank() == 0:
            return run(plan, workplace, fresh=fresh)
        _Follower(plan, workplace).follow()
    return None


def dismiss(device: torch.device) -> None:
    """Let the processes that were started beside this one go: there is nothing to do."""
    with together(device):
        pass


class _Follower:
    """A process of a run but the first: it does what rank 0 asks for."""

    def __init__(self, plan: Plan, workplace: Workplace) -> None:
        self.plan, self.workplace = plan, workplace
        self.method: Method | None = None

    def follow(self) -> None:
        keep_freed_blocks()
        self.memory_before: TreeMemory = baseline()
        profile = self.plan.spec.profile
        set_float32(profile.tf32)
        parts: dict[str, Callable[..., None]] = {
            "data": self.data,
            "teacher": self.teacher,
            "train": self.train,
            "score": self.score,
        }
        with computing_threads(profile.threads, self.workplace.device):
            while (order := share(("", ())))[0] != "end":
                parts[order[0]](*order[1])

    def data(self) -> None:
        check_data(self.plan, self.workplace.report)

    def teacher(self, weights_id: str, port: int) -> None:
        for teacher in self.plan.teachers:
            if teacher.plan and teacher.plan.spec.weights_id == weights_id:
                train_apart(teacher, self.workplace, port)
                return

    def train(self) -> None:
        teachers = [
            zoo.build(teacher.network, len(self.plan.classes)) for teacher in self.plan.teachers
        ]
        self.method = build_method(self.plan, new_student(self.plan), teachers)
        self.method.to(self.workplace.device)
        folder = self.workplace.weights(self.plan.spec.weights_id)
        with self.workplace.stop.held():
            train(self.method, self.plan, self.workplace, folder, self.memory_before)
        if self.plan.spec.profile.lora_rank:
            merge_adapters(self.method)  # as rank 0, whose weights this one scores

    def score(self, role: str, name: str, images: Role) -> None:
        network = (
            getattr(self.method, role) if self.method else zoo.build(name, len(self.plan.classes))
        )
        copy_weights(network.to(self.workplace.device))
        spec = self.plan.spec
        scored = self.plan.sources.target.open(images)
        score(network, scored, spec.scenario, spec.profile, self.workplace.device)
