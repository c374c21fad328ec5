"""A run's training: the method around its networks, measured while it learns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from harness.config.planning import Plan
from harness.data.loader import TrainLoader
from harness.data.store_build import ensure
from harness.errors import BenchError
from harness.measure.clock import StepClock
from harness.measure.energy import Energy
from harness.measure.memory import PeakMemory, TreeMemory
from harness.records.schema import Golden, Training, TrainingPhase
from harness.runs.workplace import Workplace
from harness.training import execution, loop
from harness.weights.find import load
from methods import registry
from methods.contract import Method, Segmentor
from methods.networks import zoo


def build_method(plan: Plan, student: Segmentor, teachers: Sequence[Segmentor]) -> Method:
    """The plan's method around its networks; companions are built here, from their own weights."""
    companions = [zoo.build(companion.network) for companion in plan.companions]
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
            **({"companions": companions} if companions else {}),
        )
    except ValueError as error:  # networks that the method cannot bring together
        raise BenchError(f"method {plan.spec.method}: {error}.") from error


def train(
    method: Method, plan: Plan, workplace: Workplace, log: Path, memory_before: TreeMemory
) -> tuple[Training, dict[str, list[float]], Golden]:
    """Train the method -> what it cost, its first losses, and what `bench check` compares."""
    spec, profile = plan.spec, plan.spec.profile
    source = plan.sources.source.open("train") if method.uses_source else None
    target = plan.sources.target.open("train") if method.uses_target else None
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
    loader = TrainLoader(
        source,
        target,
        profile,
        spec.seed,
        target_labels=method.needs_target_labels,
        device=workplace.device,
        steps=profile.iterations * profile.accumulation,
    )
    unmet = execution.prepare(method, profile, workplace.device)
    for wish in unmet:
        workplace.report.say(wish)
    clock = StepClock(profile.batch_size * profile.accumulation, workplace.device, workplace.clock)
    golden = loop.Golden(profile.iterations)
    start = time.perf_counter()
    with (
        PeakMemory(workplace.device, baseline=memory_before) as memory,
        Energy(workplace.device) as energy,
        workplace.report.training(profile.iterations, memory) as progress,
    ):
        losses = loop.train(
            method,
            loader,
            profile,
            workplace.device,
            clock=clock,
            progress=progress,
            golden=golden,
            log=log,
        )
    seconds = time.perf_counter() - start
    speed = clock.summary()
    for line in loader.unknown_ids():
        workplace.report.say(line)
    return (
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
            unmet=unmet,
        ),
        losses,
        Golden(losses=golden.losses, held_mib=golden.held_mib),
    )
