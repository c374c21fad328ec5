"""A run's training: the method around its networks, measured while it learns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from harness.config.planning import Plan
from harness.config.schema import Profile
from harness.data.cache import check_cache
from harness.data.datasets import Dataset
from harness.data.layouts import layout_of
from harness.data.loader import TrainLoader
from harness.data.rare_class import class_statistics
from harness.data.store_build import ensure
from harness.data.verify import quick_check, without_labels
from harness.errors import BenchError
from harness.evaluation.curve import CurveMeter
from harness.files import content_hash
from harness.measure.clock import StepClock, Stopwatch
from harness.measure.energy import Energy
from harness.measure.memory import PeakMemory
from harness.measure.process_memory import TreeMemory
from harness.records.schema import Curve, Golden, Training, TrainingPhase
from harness.report.progress import Reporter, Role
from harness.runs.remaining import afterwards
from harness.runs.workplace import Workplace
from harness.training import execution, loop
from harness.training.checkpoints import Checkpoints, of_all
from harness.training.distributed import check_alike, copy_weights, failing_together
from harness.training.state import shared
from harness.weights.checkpoint_classes import check_classes
from harness.weights.find import Checkpoint, load
from methods import registry
from methods.contract import Method, Segmentor
from methods.networks import zoo
from methods.networks.freezing import freeze, hold_statistics
from methods.networks.lora import add_adapters
from methods.parts.joined import rank


class Outcome(NamedTuple):
    """What a training cost, and its losses."""

    training: Training
    losses: dict[str, list[float]]  # the first ones
    golden: Golden
    earlier_seconds: float  # of the training, spent by tries that were interrupted
    curve: Curve | None  # where the profile asks for it


def new_student(plan: Plan) -> Segmentor:
    """The plan's student, its encoder from the weights that it starts from, all else seeded."""
    torch.manual_seed(plan.spec.seed)
    student = zoo.build(plan.spec.student, len(plan.classes))
    if plan.init:
        load(student, plan.init, part="encoder")
    return student


def build_method(plan: Plan, student: Segmentor, teachers: Sequence[Segmentor]) -> Method:
    """The plan's method around its networks; companions are built here, from their own weights."""
    companions = [zoo.build(companion.network, len(plan.classes)) for companion in plan.companions]
    for network, companion in zip(companions, plan.companions, strict=True):
        if companion.init:
            load(network, companion.init, part="encoder")
    try:
        for network in (student, *companions):
            restrict(network, plan.spec.profile)
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


def restrict(network: Segmentor, profile: Profile) -> None:
    """Let of the network learn what the profile says. ValueError where it has no such parts."""
    if profile.freeze_encoder != "none":
        freeze(network, profile.freeze_encoder)
    if profile.norm_eval:
        hold_statistics(network)
    if profile.lora_rank:
        add_adapters(network, profile.lora_rank)


def check_data(plan: Plan, report: Reporter) -> None:
    """Generate what is missing, and stop before training when a file is missing or broken.

    DataError with one line a problem. Counts the source's classes too, once for all runs.
    BenchError where the cache, which holds them, cannot be written.
    """
    check_cache()
    method = registry.load(plan.spec.method)
    source, target = plan.sources.source, plan.sources.target
    with report.counting(f"drawing street scenes, {source.ref.dataset}-like") as progress:
        labelled = source.open("train", progress)
    with report.counting(f"drawing street scenes, {target.ref.dataset}-like") as progress:
        unlabelled = target.open("train", progress)
    quick_check(labelled)
    quick_check(unlabelled, labels=method.needs_target_labels)
    if plan.spec.target.val_images:
        quick_check(target.open("val"))
    if "second" in target.splits:
        quick_check(target.open("second"))
    if plan.spec.profile.rare_class_sampling and method.uses_source:
        with report.counting(f"counting the classes of {source.ref.dataset}, once") as progress:
            class_statistics(labelled, progress)


def check_what_is_there(plan: Plan) -> None:
    """What of `check_data` needs no image drawn and leaves nothing behind. DataError as there."""
    for teacher in plan.teachers:
        if teacher.checkpoint:
            check_classes(Checkpoint(teacher.checkpoint), plan.classes)
    needs_labels = registry.load(plan.spec.method).needs_target_labels
    source, target = plan.sources.source, plan.sources.target
    if source.root is not None:
        quick_check(source.open("train"))
    if target.root is not None:
        quick_check(target.open("train"), labels=needs_labels)
        if plan.spec.target.val_images:
            quick_check(target.open("val"))
        if "second" in target.splits:
            quick_check(target.open("second"))
    elif needs_labels:
        name, split = target.ref.dataset, target.splits["train"]
        if not layout_of(name).is_labelled(split):
            raise without_labels(name, split)


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


def _role(method: Method, plan: Plan, workplace: Workplace) -> Role:
    """The training's name in the run, and how long what follows it takes."""
    networks = 1 if method.ema_teacher is None else 2
    follows = afterwards(plan, networks, workplace.steps_after)
    return Role(f"{workplace.role} {plan.spec.student}", follows)


@failing_together()
def train(
    method: Method, plan: Plan, workplace: Workplace, folder: Path, memory_before: TreeMemory
) -> Outcome:
    """Train the method, from where an earlier try's state in the folder lets it go on.

    Where several processes train together all call this; rank 0 has the weights, the state and the
    folder, and its outcome is that of all.
    """
    spec, profile = plan.spec, plan.spec.profile
    copy_weights(method)
    if rank():  # draws of its own: dropout, drop-path
        torch.manual_seed(int(content_hash([spec.seed, rank()]), 16))
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
    resume = None
    if rank() == 0:
        resume = checkpoints.newest(method, profile.iterations, workplace.keep_other_code)
    resume = shared(resume)
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
    golden = loop.GoldenLosses(profile.iterations)
    stopwatch = Stopwatch()
    curve = _curve(plan, workplace) if profile.score_every else None
    processor = Stopwatch(time.process_time)
    with (
        PeakMemory(workplace.device, baseline=memory_before) as memory,
        Energy(workplace.device) as energy,
        workplace.report.training(
            profile.iterations, memory, start_step, _role(method, plan, workplace)
        ) as progress,
    ):
        losses = loop.train(
            method,
            loader,
            profile,
            workplace.device,
            clock=clock,
            progress=workplace.logging.also(progress, profile, memory),
            each_step=progress.step,
            golden=golden,
            log=None if rank() else folder / "log.jsonl",
            say=workplace.report.say,
            checkpoints=checkpoints,
            meters={"memory": memory, "energy": energy, "wall": stopwatch, "processor": processor},
            curve=curve,
            resume=resume,
        )
        check_alike(method)
        seconds = of_all(stopwatch)["seconds"]
        for meter in (clock, memory, energy):
            meter.load_state_dict(of_all(meter))
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
            timed_by=clock.marks.timed_by,
            wall_seconds=seconds,
            processor_seconds=processor.seconds if workplace.device.type == "cpu" else None,
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
        curve.curve if curve else None,
    )


def _curve(plan: Plan, workplace: Workplace) -> CurveMeter:
    target, spec = plan.sources.target, plan.spec
    scored = target.open("val") if spec.target.val_images else None
    return CurveMeter(target.open("train"), scored, spec.scenario, spec.profile, workplace.device)
