"""Speeds that the regression gate compares: what a baseline asks for, what a training reached."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.schema import Inference, Record, Training


def slowest_inference(baseline: Sequence[Record]) -> list[Record]:
    """The same with one inference speed a network: the slowest that its runs measured.

    A virtual machine's processor changes its speed by nearly two within minutes, so the fastest of
    a network's runs is a speed that an unchanged tree may not reach again.
    """
    slowest: dict[tuple[object, ...], Inference] = {}
    for record in baseline:
        if record.cost and (timed := record.cost.inference):
            key = _timed_alike(record, timed)
            slowest[key] = min(slowest.get(key, timed), timed, key=lambda i: i.images_per_second)
    return [_with_inference(record, slowest) for record in baseline]


def _timed_alike(record: Record, timed: Inference) -> tuple[object, ...]:
    return (
        record.spec.student,
        tuple(timed.resolution),
        timed.batch,
        timed.precision,
        timed.timed_by,
    )


def _with_inference(record: Record, slowest: dict[tuple[object, ...], Inference]) -> Record:
    if record.cost is None or record.cost.inference is None:
        return record
    inference = slowest[_timed_alike(record, record.cost.inference)]
    return record.model_copy(
        update={"cost": record.cost.model_copy(update={"inference": inference})}
    )


def training_speeds(old: Training, new: Training) -> tuple[float, float]:
    """Images a second of both: over the schedule where both tell it by part, else the median step.

    A median shows no slowdown in a part of the schedule alone, such as mixing.
    """
    speeds = schedule_speed(old), schedule_speed(new)
    if None in speeds:
        return old.images_per_second, new.images_per_second
    return speeds  # type: ignore[return-value]


def schedule_speed(training: Training) -> float | None:
    """Images a second over all parts of the schedule but the first, the warm-up; None: not told."""
    parts = training.phases[1:] if training.phases else []
    speeds = [part.images_per_second for part in parts]
    if not all(speed > 0 for speed in speeds):
        return None
    seconds = sum(part.steps / speed for part, speed in zip(parts, speeds, strict=True))
    return sum(part.steps for part in parts) / seconds if seconds > 0 else None
