"""The scores of a network on a data set, and `bench eval`: those of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field

from harness.config import catalogue
from harness.config.network_files import pinned, recorded
from harness.config.overrides import apply_overrides
from harness.config.schema import DataRef, Profile, Scenario
from harness.data.sources import Source, find_target, is_there, sized
from harness.data.verify import quick_check
from harness.errors import BenchError
from harness.evaluation.inference import Views, within_memory
from harness.evaluation.registry import measured
from harness.evaluation.scoring import score
from harness.files import file_hash
from harness.measure import environment
from harness.measure.allocator import WITHOUT_TRAINING, keep_freed_blocks
from harness.records.schema import RecordModel, Scores
from harness.report.cells import number
from harness.report.columns import Grid
from harness.report.progress import Reporter
from harness.training.precision import computing_threads, set_float32
from harness.weights.checkpoint_classes import check_classes
from harness.weights.find import (
    EMA_WEIGHTS,
    Checkpoint,
    NetworkPart,
    load_network,
    network_of,
)
from methods.contract import Method, Segmentor


class Evaluation(RecordModel):
    """What `bench eval` finds; docs/records.md documents it."""

    checkpoint: str = Field(description="file name")
    checkpoint_sha256: str
    format: str = Field(description="what the file was found to be")
    part: NetworkPart = Field(description="of a self-training checkpoint")
    network: str
    scenario: Scenario
    profile: Profile
    target: DataRef
    scores: Scores
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Question:
    """Which checkpoint, on what, how: what is None is the checkpoint's own run's, or a default."""

    checkpoint: Checkpoint
    scenario: str | None = None
    profile: str | None = None
    student: str | None = None
    part: NetworkPart = "student"
    overrides: tuple[str, ...] = ()
    data_root: Path | None = None
    on: tuple[str, ...] = ()  # data sets in the place of the scenario's


class Loaded(NamedTuple):
    """A checkpoint's network, ready to be scored."""

    file: str
    sha256: str
    network: Segmentor
    name: str
    description: str  # what the file was found to be
    part: NetworkPart


def evaluate_checkpoint(question: Question, device: torch.device, report: Reporter) -> Evaluation:
    """Score a checkpoint on its scenario's validation images. BenchError for what does not fit."""
    scenario, profile, data_root = conditions(question)
    profile = sized(scenario, profile, data_root)
    target = find_target(scenario, profile, data_root)
    if not target.ref.val_images:
        raise BenchError(
            f"{target.ref.dataset} has no labels to score on; expected a scenario that names a "
            'labelled set to score: scored = "NAME".'
        )
    return evaluate(
        load(question, scenario, profile, report), target, scenario, profile, device, report
    )


def load(question: Question, scenario: Scenario, profile: Profile, report: Reporter) -> Loaded:
    """The checkpoint's network, for the scenario's classes. BenchError for what does not fit."""
    checkpoint, student = question.checkpoint, question.student
    name = pinned(student) if student else network_of(checkpoint) or recorded(profile.student)
    classes = catalogue.classes_of(scenario)
    check_classes(checkpoint, classes)
    network, description = load_network(checkpoint, name, len(classes), question.part)
    report.say(f"{checkpoint.path.name}: {description}, as {network.name}")
    path = checkpoint.path
    part: NetworkPart = "ema" if path.name == EMA_WEIGHTS else question.part
    return Loaded(path.name, file_hash(path), network, network.name, description, part)


def evaluate(
    loaded: Loaded,
    target: Source,
    scenario: Scenario,
    profile: Profile,
    device: torch.device,
    report: Reporter,
) -> Evaluation:
    """Score a network on the validation images of a data set."""
    if target.ref.generated:
        report.say("generated data: figures are not comparable with papers")
    with report.counting(f"drawing street scenes, {target.ref.dataset}-like") as progress:
        dataset = target.open("val", progress)
    quick_check(dataset)
    keep_freed_blocks(WITHOUT_TRAINING)
    set_float32(profile.tf32)
    fewer = within_memory("--set slide=512,512,341,341, or a smaller --set image_size")
    scoring = report.counting(f"scoring {target.ref.dataset}")
    with computing_threads(profile.threads, device), fewer, scoring as scored:
        scores = score(loaded.network.to(device), dataset, scenario, profile, device, scored)
        provenance = environment.collect(device, profile.precision)
    return Evaluation(
        checkpoint=loaded.file,
        checkpoint_sha256=loaded.sha256,
        format=loaded.description,
        part=loaded.part,
        network=loaded.name,
        scenario=scenario,
        profile=profile,
        target=target.ref,
        scores=scores,
        provenance=provenance,
    )


def conditions(question: Question) -> tuple[Scenario, Profile, Path | None]:
    """Scenario, profile and data root: as asked for, else those of the checkpoint's own run."""
    record, data_root = question.checkpoint.record, question.data_root
    if question.scenario:
        scenario = catalogue.scenario(question.scenario)
    elif record:
        scenario = catalogue.found_again(record.spec.scenario)
        if record.spec.target.generated and not question.on:
            data_root = None  # it may come from the environment: a generated run stays one
    else:
        raise BenchError(
            f"{question.checkpoint.path.name} does not say which scenario it was trained for; "
            "expected --scenario NAME. `bench list scenarios` names them."
        )
    if question.profile or not record:
        real = is_there(scenario.target, data_root)
        profile = catalogue.profile(question.profile or ("paper" if real else "tiny"))
    else:
        profile = record.spec.profile
        if profile.name in catalogue.names("profiles"):  # for sets that its run did not use
            shipped = catalogue.profile(profile.name)
            rules = {"longest_side": shipped.longest_side, "image_scale": shipped.image_scale}
            sizes = shipped.image_size | profile.image_size
            profile = profile.model_copy(update={"image_size": sizes, **rules})
    profile, scenario, _ = apply_overrides(question.overrides, profile, scenario, Method.Config, {})
    return scenario, profile, data_root


def evaluation_grids(evaluation: Evaluation) -> list[Grid]:
    """The mIoU in every convention, and the IoU by class, as tables."""
    scenario, views = evaluation.scenario, Views.of(evaluation.profile)
    warning = ", generated data: figures are not comparable with papers"
    heading = (
        f"{evaluation.checkpoint} ({evaluation.network}) on {scenario.title}, "
        f"profile {evaluation.profile.name}" + (warning if evaluation.target.generated else "")
    )
    how = [
        "whole images" if views.slide is None else f"windows and strides {views.slide}",
        *(["mirrored too"] if views.flip else []),
        *([f"at scales {views.scales}"] if views.scales != (1.0,) else []),
    ]
    measured_texts = [
        f"{metric.title} {number(value, '.2f')} {metric.unit}".strip()
        for metric, value in measured(evaluation.scores)
    ]
    size = "x".join(map(str, evaluation.profile.image_size[scenario.scored_set]))
    notes = [
        f"{evaluation.target.val_images} validation images of {scenario.scored_set} at "
        f"{size}, {'; '.join([', '.join(how), *measured_texts])}.",
        f"The scenario's convention is {scenario.convention}.",
    ]
    by_convention = [
        [name, number(value, ".2f")] for name, value in evaluation.scores.conventions.items()
    ]
    by_class = [[name, number(value, ".2f")] for name, value in evaluation.scores.iou.items()]
    return [
        Grid(heading, ["convention", "mIoU %"], by_convention, notes),
        Grid("IoU by class", ["class", "IoU %"], by_class, []),
    ]
