"""A training step on made-up batches of a profile's shapes: no data set, equal numbers always."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.config.schema import Profile
from harness.measure.clock import synchronise
from harness.runs.training import build_method
from harness.training.trainer import Trainer
from methods.contract import IGNORE, Batch, Method
from methods.networks import zoo

if TYPE_CHECKING:
    from harness.config.planning import Plan
    from harness.runs.speed.phases import Phases

#: Side of a block of one class, as a share of the crop's shorter side: a cell of tiny's last stage.
BLOCK = 1 / 3
#: Steps in turn at one place of the schedule: an EMA teacher moves once a step's number.
STEPS_IN_TURN = 50


def synthetic_batch(
    method: Method | type[Method],
    crop: tuple[int, int],
    images: int,
    seed: int = 0,
    *,
    classes: int,
) -> Batch:
    """Random images, labels in blocks of so many classes and of the ignored one, on the CPU.

    Images are (images, 3, *crop) float32 of unit variance, labels (images, *crop) int64: what the
    method asks for, empty or None where it asks for nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    sides = [max(1, round(side / (BLOCK * min(crop)))) for side in crop]

    def image() -> Tensor:
        return torch.randn(images, 3, *crop, generator=generator)

    def label() -> Tensor:
        blocks = torch.randint(classes + 1, (images, 1, *sides), generator=generator)
        blocks[blocks == classes] = IGNORE
        return F.interpolate(blocks.float(), crop, mode="nearest")[:, 0].long()

    source, source_label, target, target_label = image(), label(), image(), label()
    if not method.uses_source:
        source, source_label = source[:0], source_label[:0]
    if not method.uses_target:
        target = target[:0]
    return Batch(source, source_label, target, target_label if method.needs_target_labels else None)


class SyntheticStep:
    """A method as a run builds and trains it, from random weights, always on the same batch."""

    def __init__(
        self,
        plan: Plan,
        device: torch.device,
        *,
        images: int | None = None,
        phases: Phases | None = None,
    ) -> None:
        """`images` replaces the profile's batch; `phases` are told of the step's parts."""
        self.profile: Profile = plan.spec.profile
        self.device, self.phases = device, phases
        classes = len(plan.classes)
        teachers = [zoo.build(teacher.network, classes) for teacher in plan.teachers]
        student = zoo.build(plan.spec.student, classes)
        self.method = build_method(plan, student, teachers).to(device)
        self.method.train()
        #: Settings of the profile that this machine does not support.
        self.unmet = _prepare(self.method, self.profile, device)
        options: dict[str, Any] = {}
        if phases:
            from harness.runs.speed.phases import watch_method

            watch_method(self.method, phases)
            if "watch" in inspect.signature(Trainer).parameters:  # older revisions have none
                options["watch"] = phases
        self.trainer = Trainer(self.method, self.profile, device, **options)
        images = images or self.profile.batch_size
        self.batches = [
            _pinned(
                synthetic_batch(
                    self.method,
                    self.profile.crop,
                    images,
                    seed,
                    classes=self.method.student.num_classes,
                ),
                device,
            )
            for seed in range(self.profile.accumulation)
        ]

    def run(self, step: int) -> dict[str, Tensor]:
        """One step of the optimisers, its batches brought to the device first -> its terms."""
        phases = self.phases
        with phases.step() if phases else nullcontext():
            with phases("data") if phases else _nothing():
                batches = [_moved(batch, self.device) for batch in self.batches]
            return self.trainer.step(batches, step)

    def seconds(self, step: int, clock: Callable[[], float] = time.perf_counter) -> float:
        """Run one step -> the time until the device has done it."""
        start = clock()
        self.run(step)
        synchronise(self.device)
        return clock() - start

    def number(self, count: int, at: float) -> int:
        """The number of the count-th step around a share of the schedule, a few in turn."""
        last = self.profile.iterations - 1
        first = min(int(at * self.profile.iterations), max(0, last - STEPS_IN_TURN + 1))
        return first + count % (min(STEPS_IN_TURN, last - first + 1))


def _nothing() -> AbstractContextManager:
    return nullcontext()


def _prepare(method: Method, profile: Profile, device: torch.device) -> list[str]:
    """What a run does to networks before it trains them; nothing in older revisions."""
    try:
        from harness.training import execution
    except ImportError:
        return []
    return execution.prepare(method, profile, device)


def _pinned(batch: Batch, device: torch.device) -> Batch:
    """The batch as a loader hands it over: in pinned memory where it goes to a GPU."""
    return _each(batch, Tensor.pin_memory) if device.type == "cuda" else batch


def _moved(batch: Batch, device: torch.device) -> Batch:
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _each(batch: Batch, change: Any) -> Batch:
    target_label = batch.target_label
    return Batch(
        change(batch.source_image),
        change(batch.source_label),
        change(batch.target_image),
        None if target_label is None else change(target_label),
    )
