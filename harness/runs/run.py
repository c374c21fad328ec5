"""One run: data -> teachers -> method -> train -> evaluate -> measure -> record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import torch

from harness.config.planning import Plan, Teacher
from harness.config.schema import DataRef, RunSpec
from harness.data.loader import TrainLoader
from harness.data.rare_class import class_statistics
from harness.data.verify import quick_check
from harness.errors import BenchError, in_one_line, without_folders
from harness.evaluation.inference import Views
from harness.evaluation.scoring import score
from harness.measure import environment
from harness.measure.allocator import keep_freed_blocks
from harness.measure.clock import StepClock
from harness.measure.energy import Energy
from harness.measure.flops import gflops, parameters_m
from harness.measure.inference_speed import measure_inference
from harness.measure.memory import PeakMemory, TreeMemory, baseline
from harness.records import store
from harness.records.schema import (
    Cost,
    Metrics,
    Record,
    Scores,
    TeacherCost,
    Training,
    TrainingPhase,
)
from harness.report.progress import Reporter
from harness.training.loop import train
from harness.training.precision import set_float32
from harness.weights.find import RUN, WEIGHTS, load
from methods import registry
from methods.contract import Method, Segmentor
from methods.networks import zoo
from methods.networks.weights import save_weights


@dataclass(frozen=True)
class Workplace:
    """Where a run works and what it tells: results folder, device, reporter."""

    results: Path
    device: torch.device
    report: Reporter

    def weights(self, weights_id: str) -> Path:
        """Folder of a trained network: student.safetensors, run.json, log.jsonl."""
        return self.results / "artifacts" / weights_id


def run(plan: Plan, place: Workplace) -> Record:
    """Carry out a plan and store its record, `failed` when anything goes wrong.

    BenchError (bad data, a bad frozen teacher) before that is raised, not recorded: nothing has
    been run yet.
    """
    keep_freed_blocks()
    memory_before = baseline()
    place.report.headline(plan)
    check_data(plan, place.report)
    teachers = [frozen_teacher(teacher, place) for teacher in plan.teachers]
    try:
        record = _train_and_measure(plan, place, teachers, memory_before)
    except torch.OutOfMemoryError as error:
        advice = (
            f"out of GPU memory in {plan.spec.method}; expected it to fit. Try --set batch_size=1 "
            "--set accumulation=2, or --set precision=bf16."
        )
        store.write(failed_record(plan, advice, place.device), place.results / "records")
        raise BenchError(advice) from error
    except Exception as error:
        text = f"{type(error).__name__}: {in_one_line(error)}"
        store.write(failed_record(plan, text, place.device), place.results / "records")
        raise
    store.write(record, place.results / "records")
    return record


def _train_and_measure(
    plan: Plan,
    place: Workplace,
    teachers: list[tuple[Segmentor, TeacherCost]],
    memory_before: TreeMemory,
) -> Record:
    start = time.perf_counter()
    spec, profile, device = plan.spec, plan.spec.profile, place.device
    if profile.threads and device.type == "cpu":
        torch.set_num_threads(profile.threads)
    set_float32(profile.tf32)

    torch.manual_seed(spec.seed)
    student = zoo.build(spec.student)
    if plan.init:
        load(student, plan.init, part="encoder")
    method = build_method(plan, student, [network for network, _ in teachers]).to(device)

    folder = place.weights(spec.weights_id)
    folder.mkdir(parents=True, exist_ok=True)
    training, losses = _train(method, plan, place, folder / "log.jsonl", memory_before)

    metrics = Metrics(
        convention=spec.scenario.convention,
        student=_scores(method.student, plan, place),
        ema_teacher=_scores(method.ema_teacher, plan, place) if method.ema_teacher else None,
        val_images=spec.target.val_images,
        losses=losses,
    )
    width, height = profile.image_size[spec.target.dataset]
    cost = Cost(
        parameters_m=parameters_m(method.student),
        training_parameters_m=parameters_m(method),
        gflops=gflops(method.student, (height, width)),
        training=training,
        inference=measure_inference(
            method.student, (height, width), device, profile.precision, batch=4
        ),
        teachers=[cost for _, cost in teachers],
        wall_seconds=time.perf_counter() - start,
    )
    record = _record(plan, "done", device, metrics=metrics, cost=cost)
    _keep_weights(method.student, record, folder)
    return record


def build_method(plan: Plan, student: Segmentor, teachers: Sequence[Segmentor]) -> Method:
    """The plan's method around its networks; companions are built here, and start as they shall."""
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


def check_data(plan: Plan, report: Reporter) -> None:
    """Generate what is missing, and stop before training when a file is missing or broken.

    DataError with one line a problem. Counts the source's classes too, once for all runs.
    """
    needs_labels = registry.load(plan.spec.method).needs_target_labels
    source, target = plan.sources.source, plan.sources.target
    with report.counting(f"drawing street scenes, {source.ref.dataset}-like") as progress:
        labelled = source.open("train", progress)
    with report.counting(f"drawing street scenes, {target.ref.dataset}-like") as progress:
        unlabelled = target.open("train", progress)
    quick_check(labelled)
    quick_check(unlabelled, labels=needs_labels)
    quick_check(target.open("val"))
    if plan.spec.profile.rare_class_sampling:
        with report.counting(f"counting the classes of {source.ref.dataset}, once") as progress:
            class_statistics(labelled, progress)


def _train(
    method: Method, plan: Plan, place: Workplace, log: Path, memory_before: TreeMemory
) -> tuple[Training, dict[str, list[float]]]:
    spec, profile = plan.spec, plan.spec.profile
    loader = TrainLoader(
        plan.sources.source.open("train"),
        plan.sources.target.open("train") if method.uses_target else None,
        profile,
        spec.seed,
        target_labels=method.needs_target_labels,
        device=place.device,
        steps=profile.iterations * profile.accumulation,
    )
    clock = StepClock(profile.batch_size * profile.accumulation, place.device)
    start = time.perf_counter()
    with (
        PeakMemory(place.device, baseline=memory_before) as memory,
        Energy(place.device) as energy,
        place.report.training(profile.iterations) as progress,
    ):
        losses = train(
            method, loader, profile, place.device, clock=clock, progress=progress, log=log
        )
    seconds = time.perf_counter() - start
    speed = clock.summary()
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
        ),
        losses,
    )


def _scores(network: Segmentor, plan: Plan, place: Workplace) -> Scores:
    spec = plan.spec
    return score(
        network, plan.sources.target.open("val"), spec.scenario, spec.profile, place.device
    )


def frozen_teacher(teacher: Teacher, place: Workplace) -> tuple[Segmentor, TeacherCost]:
    """The frozen network and what it cost: read from a file, found trained, or trained now."""
    network = zoo.build(teacher.network)
    if teacher.checkpoint:
        load(network, teacher.checkpoint)
        return network, TeacherCost(
            network=teacher.network,
            parameters_m=parameters_m(network),
            weights_id=None,
            checkpoint=teacher.checkpoint.name,
            reused=True,
        )
    assert teacher.plan is not None
    weights_id = teacher.plan.spec.weights_id
    folder = place.weights(weights_id)
    reused = (folder / RUN).is_file()
    if not reused:
        place.report.say(f"frozen teacher {teacher.network}: trained on the source first")
        run(teacher.plan, place)
    load(network, folder / WEIGHTS)
    record = store.read(folder / RUN)
    assert record.cost is not None
    assert record.metrics is not None
    comparable = _scored_as(record.spec) == _scored_as(teacher.plan.spec)
    return network, TeacherCost(
        network=teacher.network,
        parameters_m=record.cost.parameters_m,
        weights_id=weights_id,
        miou=record.metrics.student.miou if comparable else None,
        training=record.cost.training,
        reused=reused,
    )


def _scored_as(spec: RunSpec) -> tuple[DataRef, Views]:
    """What a run that reuses weights must share with their own run to take over its score."""
    return spec.target, Views.of(spec.profile)


def _keep_weights(student: Segmentor, record: Record, folder: Path) -> None:
    """Weights first, their record last: a folder with run.json is whole."""
    # Its own name: the method may have made more of the spec's student.
    metadata = {"network": student.name, "run_id": record.run_id}
    save_weights(student, folder / WEIGHTS, metadata)
    partial = folder / f"{RUN}.{os.getpid()}"
    partial.write_text(json.dumps(record.model_dump(mode="json")), encoding="utf-8")
    partial.replace(folder / RUN)


def failed_record(plan: Plan, error: str, device: torch.device | None = None) -> Record:
    """The record of a run that came to nothing; no folder's name leaves the machine with it."""
    return _record(plan, "failed", device, error=without_folders(error))


def _record(
    plan: Plan, state: Literal["done", "failed"], device: torch.device | None, **parts: Any
) -> Record:
    return Record(
        run_id=plan.spec.run_id,
        state=state,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        spec=plan.spec,
        provenance=environment.collect(device),
        **parts,
    )
