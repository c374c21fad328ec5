"""Makes records as a run would write them, for tests that need no run."""

from __future__ import annotations

import random
from typing import Any

from cityscapes import CLASSES

from harness.config.catalogue import classes_of
from harness.config.schema import DataRef, Profile, RunSpec, Scenario
from harness.evaluation.metrics import unscored
from harness.records.schema import (
    Cost,
    Golden,
    Inference,
    LabelFree,
    LabelFreeScores,
    Metrics,
    Record,
    Scores,
    TeacherCost,
    Training,
)

TITLES = {"gta2cs": "GTA5 -> Cityscapes", "synthia2cs": "SYNTHIA -> Cityscapes"}


def fake_spec(
    method: str = "source_only",
    seed: int = 0,
    *,
    scenario: str = "gta2cs",
    profile: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    student: str = "mini-b0",
    teachers: list[dict[str, Any]] | None = None,
    generated: bool = True,
    fingerprint: str = "f00d",
    protocol: int = 1,
) -> RunSpec:
    source = "synthia" if scenario.startswith("synthia") else "gta5"
    sizes = {source: (192, 96), "cityscapes": (192, 96)}
    settings: dict[str, Any] = {
        "name": "tiny",
        "description": "generated streets",
        "image_size": sizes,
        "crop": (96, 192),
        "batch_size": 2,
        "iterations": 800,
        "teacher_iterations": 800,
        "lr": 1e-3,
        "student": "mini-b0",
        **(profile or {}),
    }
    return RunSpec(
        protocol=protocol,
        method=method,
        method_config={"loss_stride": 2, **(config or {})},
        scenario=Scenario(
            name=scenario,
            title=TITLES[scenario],
            source=source,
            target="cityscapes",
            convention="rescaled19" if source == "synthia" else "all19",
        ),
        profile=Profile(**settings),
        student=student,
        teachers=teachers or [],
        seed=seed,
        source=DataRef(
            dataset=source, generated=generated, fingerprint=fingerprint, train_images=400
        ),
        target=DataRef(
            dataset="cityscapes",
            generated=generated,
            fingerprint=fingerprint,
            train_images=400,
            val_images=64,
        ),
        uses_target=method != "source_only",
    )


def fake_scores(miou: float, conventions: dict[str, float] | None = None) -> Scores:
    iou: dict[str, float | None] = {name: miou + i - 9 for i, name in enumerate(CLASSES)}
    return Scores(
        miou=miou,
        iou=iou | {"train": None},
        figures={"pixel_accuracy": 80.0},
        conventions=conventions or {"all19": miou},
        confusion=[[10 * (i == j) + 1 for j in range(19)] for i in range(19)],
    )


def fake_training(images_per_second: float = 35.0, **changes: Any) -> Training:
    values: dict[str, Any] = {
        "images_per_second": images_per_second,
        "images_per_second_p10": images_per_second * 0.9,
        "images_per_second_p90": images_per_second * 1.1,
        "data_share": 0.02,
        "steps": 800,
        "timed_by": "wall clock",
        "wall_seconds": 1600 / 35,  # 800 iterations of 2 images
        "memory_mib": 900.0,
        "memory_kind": "cpu rss",
    }
    return Training(**(values | changes))


def fake_cost(teachers: list[TeacherCost] | None = None, **training: Any) -> Cost:
    return Cost(
        parameters_m=1.04,
        gflops=0.8,
        training=fake_training(**training),
        inference=Inference(
            images_per_second=120.0,
            batch=4,
            latency_ms_p50=9.0,
            latency_ms_p90=11.0,
            resolution=(96, 192),
            precision="fp32",
            timed_by="wall clock",
        ),
        teachers=teachers or [],
        wall_seconds=60.0,
    )


def fake_provenance(cpu: str = "Test CPU", gpu: str | None = None) -> dict[str, Any]:
    return {
        "code": {"version": "0.1.0", "protocol": 1, "commit": None, "dirty": None},
        "cpu": {"model": cpu, "cores": 2, "threads": 2, "usable": 2},
        "gpu": {"name": gpu} if gpu else None,
    }


def fake_record(
    method: str = "source_only",
    seed: int = 0,
    miou: float = 30.0,
    *,
    ema_miou: float | None = None,
    conventions: dict[str, float] | None = None,
    losses: dict[str, list[float]] | None = None,
    golden: Golden | None = None,
    confusion: list[list[int]] | None = None,
    error: str | None = None,
    cost: Cost | None = None,
    provenance: dict[str, Any] | None = None,
    created: str = "2025-01-01T00:00:00Z",
    **spec: Any,
) -> Record:
    """One record; `error` makes it a failed one, further keywords go to `fake_spec`."""
    run = fake_spec(method, seed, **spec)
    metrics = Metrics(
        convention=run.scenario.convention,
        student=fake_scores(miou, conventions),
        ema_teacher=None if ema_miou is None else fake_scores(ema_miou),
        val_images=64,
        losses=losses or {"source": [2.5, 2.25]},
        golden=golden,
    )
    if confusion:
        metrics.student.confusion = confusion
    return Record(
        run_id=run.run_id,
        state="failed" if error else "done",
        error=error,
        created=created,
        spec=run,
        metrics=None if error else metrics,
        cost=None if error else cost or fake_cost(),
        provenance=provenance or fake_provenance(),
    )


def without_labels(record: Record, entropy: float = 1.0) -> Record:
    """The same had its target no labels to score on; other label-free figures are its multiples."""
    assert record.metrics
    classes = classes_of(record.spec.scenario)
    nothing = unscored(classes, record.metrics.convention)
    student = LabelFreeScores(entropy=entropy, infomax=2 * entropy, snd=3 * entropy)
    figures = LabelFree(images=64, student=student, agreement=40 * entropy)
    update: dict[str, Any] = {"student": nothing, "val_images": 0, "label_free": figures}
    if record.metrics.ema_teacher:
        update["ema_teacher"] = nothing
    return record.model_copy(update={"metrics": record.metrics.model_copy(update=update)})


FOUR_SCORES = {
    "source_only": (21.1, 25.0, 24.6),
    "daformer": (26.2, 25.9, 27.5),
    "dualkd": (32.0, 35.5, 35.8),
    "oracle": (48.6, 52.6, 52.0),
}


def four_methods(**spec: Any) -> list[Record]:
    """Three seeds each, in no order."""
    records = [
        fake_record(method, seed, miou, **spec)
        for method, scores in FOUR_SCORES.items()
        for seed, miou in enumerate(scores)
    ]
    random.Random(0).shuffle(records)
    return records
