"""What inference speed a baseline of the regression gate asks for."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.schema import Inference, Record


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
