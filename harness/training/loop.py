"""The training loop: one for every method, which goes on exactly where a state was kept."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from harness.config.schema import Profile
from harness.errors import BenchError, in_one_line
from harness.files import write_text
from harness.measure.clock import StepClock
from harness.training.checkpoints import Checkpoints, Meter
from harness.training.state import State, StateError, restore
from harness.training.trainer import Trainer
from methods.contract import Batch, Method
from methods.parts.joined import processes, total
from methods.parts.older_objects import passing_over_older_objects

#: First steps whose losses a record keeps: what `bench check` holds tightly.
GOLDEN_STEPS = 5
#: Parts of the schedule; a record keeps the losses at the first step of each, too.
GOLDEN_PARTS = 10
MIB = 2**20


class Scorer(Meter, Protocol):
    """Scores the networks while they learn: harness.evaluation.curve, which is above this one."""

    def due(self, done: int) -> bool: ...
    def score(self, method: Method, done: int, meters: Mapping[str, Meter]) -> None: ...


#: Told the step, its loss terms and the images per second: a terminal, a log, or nobody.
Progress = Callable[[int, dict[str, float], float], None]


@dataclass
class GoldenLosses:
    """What `bench check` compares of a training: losses over the schedule, and what was held."""

    iterations: int
    #: By term: (step, value), steps ascending.
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    #: (step, MiB of tensors) after the first steps and after the last: a leak grows between.
    held_mib: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = (round(part * self.iterations / GOLDEN_PARTS) for part in range(GOLDEN_PARTS))
        self.steps = {*range(GOLDEN_STEPS), *parts, self.iterations - 1}

    def note(self, step: int, values: dict[str, float], device: torch.device) -> None:
        """Keep the terms of a golden step."""
        for name, value in values.items():
            self.losses.setdefault(name, []).append((step, value))
        if step in (GOLDEN_STEPS - 1, self.iterations - 1):
            self.held_mib.append((step, held_mib(device)))


def held_mib(device: torch.device) -> float:
    """MiB of tensors that are held: allocated on a GPU; on a CPU, those that Python objects hold.

    What only an autograd graph holds is not among the latter, nor what the collector passes over.
    """
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / MIB
    storages = {}
    for item in gc.get_objects():
        # Not tensors without memory, such as torch's fake ones, or without one storage: sparse.
        if type(item) not in (Tensor, nn.Parameter) or item.layout != torch.strided:
            continue
        if item.device.type == device.type:
            storage = item.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values()) / MIB


class Log:
    """A file of one JSON a line. What cannot be written is said once: training needs no log."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = path, say
        self._failed = False

    def text(self) -> str:
        with suppress(OSError):
            return self.path.read_text(encoding="utf-8")
        return ""

    def begin(self, text: str = "") -> None:
        """Have this text in it, and nothing else."""
        with self._saying():
            write_text(self.path, text)

    def append(self, values: dict[str, float]) -> None:
        """A line more, whole on the disk before this returns."""
        with self._saying(), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    @contextmanager
    def _saying(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._failed:
                self.say(f"the log could not be written ({in_one_line(error)}); training goes on")
            self._failed = True


@dataclass
class History:
    """What a training has told so far: golden losses, first losses, its log."""

    golden: GoldenLosses
    log: Log | None = None
    first: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield

    def state_dict(self) -> dict[str, Any]:
        """All of it as JSON, the log as it lies on disk."""
        log = self.log.text() if self.log else ""
        golden = {"losses": self.golden.losses, "held_mib": self.golden.held_mib}
        return {"golden": golden, "first": self.first, "log": log}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to it; the log has only what was in it then."""
        golden = state["golden"]
        self.golden.losses = {
            name: [(step, value) for step, value in values]
            for name, values in golden["losses"].items()
        }
        self.golden.held_mib = [(step, mib) for step, mib in golden["held_mib"]]
        self.first = state["first"]
        if self.log:
            self.log.begin(state["log"])

    @staticmethod
    def of_all(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Every process knows the same, and the first has the log."""
        return states[0]


@passing_over_older_objects()
def train(
    method: Method,
    loader: Iterable[Batch],
    profile: Profile,
    device: torch.device,
    *,
    clock: StepClock,
    progress: Progress,
    each_step: Callable[[int], None] = lambda _: None,
    golden: GoldenLosses | None = None,
    log: Path | None = None,
    say: Callable[[str], None] = print,
    checkpoints: Checkpoints | None = None,
    meters: Mapping[str, Meter] | None = None,
    curve: Scorer | None = None,
    resume: State | None = None,
) -> dict[str, list[float]]:
    """Train for profile.iterations steps; return each term's value at the first steps.

    `each_step` is told how many steps are done, `progress` of those that are logged.
    `golden` is given the terms of its steps, spread over the schedule. `log` receives one JSON a
    `log_every` steps, whole lines whenever the process is killed; `say` is told once where it
    cannot be written. `checkpoints` keeps the state, that of the clock and of further `meters` with
    it; from `resume`, which it kept, training goes on, with the batches after it in `loader`.
    `curve` scores the networks at steps of its own, while the meters stand still.
    BenchError when a loss is not finite. Interrupted, the state kept, after a signal.
    """
    method.train()
    trainer = Trainer(method, profile, device)
    history = History(golden or GoldenLosses(profile.iterations), Log(log, say) if log else None)
    meters = {"clock": clock, "history": history, **(meters or {})}
    if curve:
        meters["curve"] = curve
    if checkpoints:
        checkpoints.begin(method)
    start = 0
    if resume:
        start = _go_back(trainer, resume, meters)
        if checkpoints:
            checkpoints.went_on(start)
    elif history.log:
        history.log.begin()
    batches = iter(loader)
    for step in range(start, profile.iterations):
        if checkpoints:
            checkpoints.stop_here(trainer, step, meters)
        try:
            with clock.data():
                micro = [next(batches) for _ in range(profile.accumulation)]
        except (RuntimeError, BenchError):
            # A signal to all processes has ended the loader's workers too.
            if checkpoints and processes() > 1:  # which may be in the middle of the step
                checkpoints.stop_without()
            elif checkpoints:
                checkpoints.stop_here(trainer, step, meters)
            raise
        with clock.compute():
            terms = trainer.step(micro, step)
        clock.end_step()
        done = step + 1
        each_step(done)
        logged = done % profile.log_every == 0 or done == profile.iterations
        due = checkpoints is not None and done < profile.iterations and checkpoints.due(done)
        scored = curve is not None and curve.due(done)
        if step not in history.golden.steps and not logged and not due and not scored:
            continue
        values = finite(over_processes(terms), step)
        del terms
        if step in history.golden.steps:
            history.golden.note(step, values, device)
        if step < GOLDEN_STEPS:
            for name, value in values.items():
                history.first.setdefault(name, []).append(value)
        if logged:
            speed = clock.speed()
            progress(done, values, speed)
            if history.log:
                history.log.append({"step": done, **values, "images_per_second": speed})
        if curve and scored:
            curve.score(method, done, meters)
        if checkpoints and due:
            checkpoints.write(trainer, done, meters)
    return history.first


def _go_back(trainer: Trainer, state: State, meters: Mapping[str, Meter]) -> int:
    """Restore a kept state -> the steps that were done. BenchError where it does not fit."""
    try:
        restore(trainer, state)
    except StateError as error:
        raise BenchError(
            f"the training state of step {state.values['step']} does not fit this run: {error}. "
            "Train from the start: --fresh."
        ) from error
    kept = state.values["meters"]
    for name, meter in meters.items():
        if name in kept or name != "curve":  # which an earlier try need not have drawn
            meter.load_state_dict(kept[name])
    return int(state.values["step"])


def over_processes(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each term's mean over the processes: that of the joined batch."""
    if processes() == 1:
        return terms
    mean = total(torch.stack([value.float() for value in terms.values()])) / processes()
    return dict(zip(terms, mean, strict=True))


def finite_weights(method: Method) -> None:
    """BenchError for a NaN or infinity in what the last update left of the networks to be kept."""
    for network in filter(None, (method.student, method.ema_teacher)):
        for name, value in network.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                what = "NaN" if bool(value.isnan().any()) else "infinite"
                raise BenchError(
                    f"the weights {name} of {network.name} became {what} by the end of training; "
                    "expected finite values. Try a smaller lr (--set lr=...) or --set "
                    "precision=fp32."
                )


def finite(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    """Terms as floats. BenchError for a NaN or infinite one."""
    values = {name: float(value) for name, value in terms.items()}
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        named = "terms" if len(broken) > 1 else "term"
        raise BenchError(
            f"the loss {named} {', '.join(map(repr, broken))} became {values[broken[0]]} at step "
            f"{step} or since the last that was logged; expected finite values. --set log_every=1 "
            "tells which was first. Try a smaller lr (--set lr=...) or --set precision=fp32."
        )
    return values
