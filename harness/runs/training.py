"""A run's training: the method around its networks, measured while it learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from harness.config.planning import Plan
from harness.data.datasets import Dataset
from harness.data.loader import TrainLoader
from harness.data.store_build import ensure
from harness.errors import BenchError
from harness.measure.clock import StepClock, Stopwatch
from harness.measure.energy import Energy
from harness.measure.memory import PeakMemory
from harness.measure.process_memory import TreeMemory
from harness.records.schema import Golden, Training, TrainingPhase
from harness.runs.workplace import Workplace
from harness.training import execution, loop
from harness.training.checkpoints import Checkpoints
from harness.weights.find import load
from methods import registry
from methods.contract import Method, Segmentor
from methods.networks import zoo


class Outcome(NamedTuple):
    """What a training cost and what it told."""

    training: Training
    losses: dict[str, list[float]]  # the first ones
    golden: Golden
    earlier_seconds: float  # of the training, spent by tries that were interrupted


def build_method(plan: Plan, student: Segmentor, teachers: Sequence[Segmentor]) -> Method:
    """The plan's method around its networks; companions are built here, from their own weights."""
    companions = [zoo.build(companion.network, len(plan.classes)) for companion in plan.companions]
    for network, companion in zip(companions, plan.companions, strict=True):
        if companion.init:
            load(network, companion.init, part="encoder")
    try:
        return registry.load(plan.spec.method)(
            plan.config,
            student,
            teachers,
            generator=torch.Generator().manual_seed(plan.spec.seed),
            iterations=plan.spec.profile.iterations,
            things=plan.classes.thing_ids,
            **({"companions": companions} if companions else {}),
        )
    except ValueError as error:  # networks that the method cannot bring together
        raise BenchError(f"method {plan.spec.method}: {error}.") from error


def decode(method: Method, plan: Plan, workplace: Workplace) -> None:
    """Build the stores of decoded images that the profile asks for, where they are not there."""
    profile = plan.spec.profile
    source, target = _data(method, plan)
    for dataset, labels in ((source, True), (target, method.needs_target_labels)):
        if dataset:
            with workplace.report.counting(f"decoding {dataset.name}, once") as decoded:
                ensure(
                    dataset,
                    profile.image_size[dataset.name],
                    profile.data_store,
                    ("image", "label") if labels else ("image",),
                    workplace.report.say,
                    decoded,
                )


def _data(method: Method, plan: Plan) -> tuple[Dataset | None, Dataset | None]:
    """The source and the target, those that the method looks at."""
    return (
        plan.sources.source.open("train") if method.uses_source else None,
        plan.sources.target.open("train") if method.uses_target else None,
    )


def train(
    method: Method, plan: Plan, workplace: Workplace, folder: Path, memory_before: TreeMemory
) -> Outcome:
    """Train the method, from where an earlier try's state in the folder lets it go on."""
    spec, profile = plan.spec, plan.spec.profile
    unmet = execution.prepare(method, profile, workplace.device)
    for wish in unmet:
        workplace.report.say(wish)
    checkpoints = Checkpoints(
        folder,
        profile.checkpoint_every,
        workplace.made_by(plan),
        workplace.report.say,
        workplace.stop,
    )
    resume = checkpoints.newest(method, profile.iterations, workplace.keep_other_code)
    start_step = resume.values["step"] if resume else 0
    loader = TrainLoader(
        *_data(method, plan),
        profile,
        spec.seed,
        target_labels=method.needs_target_labels,
        device=workplace.device,
        start_step=start_step * profile.accumulation,
        steps=profile.iterations * profile.accumulation,
    )
    clock = StepClock(profile.batch_size * profile.accumulation, workplace.device, workplace.clock)
    golden = loop.Golden(profile.iterations)
    stopwatch = Stopwatch()
    with (
        PeakMemory(workplace.device, baseline=memory_before) as memory,
        Energy(workplace.device) as energy,
        workplace.report.training(profile.iterations, memory, start_step) as progress,
    ):
        losses = loop.train(
            method,
            loader,
            profile,
            workplace.device,
            clock=clock,
            progress=progress,
            golden=golden,
            log=folder / "log.jsonl",
            say=workplace.report.say,
            checkpoints=checkpoints,
            meters={"memory": memory, "energy": energy, "wall": stopwatch},
            resume=resume,
        )
    seconds = stopwatch.seconds
    speed = clock.summary()
    for line in loader.unknown_ids():
        workplace.report.say(line)
    return Outcome(
        Training(
            images_per_second=speed.images_per_second,
            images_per_second_p10=speed.p10,
            images_per_second_p90=speed.p90,
            data_share=speed.data_share,
            steps=speed.steps,
            wall_seconds=seconds,
            wall_images_per_second=clock.images_per_step * len(clock.steps) / seconds,
            phases=[TrainingPhase(**phase._asdict()) for phase in clock.phases()],
            memory_peak_mib=memory.peak_mib,
            memory_baseline_mib=memory.baseline_mib,
            memory_mib=memory.mib,
            memory_reserved_mib=memory.reserved_mib,
            memory_kind=memory.kind,
            energy_kj=energy.kj,
            resumed=checkpoints.resumed,
            checkpoints=checkpoints.cost,
            unmet=unmet,
        ),
        losses,
        Golden(losses=golden.losses, held_mib=golden.held_mib),
        stopwatch.earlier,
    )
