"""The metrics that records hold beside mIoU, each registered in one place: `METRICS`.

A metric counts each batch of predictions as a tensor of integers. Those are added up over the
images of a data set and over the processes of a run (`--devices`), and the sum makes the figure:
it does not depend on how images were batched or spread. What records hold, what `bench table
--columns` and `--sort`, `bench eval`, loggers and model cards show, follows from the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.config.class_set import ClassSet, Convention
from harness.errors import BenchError, unknown
from harness.evaluation import boundary
from harness.evaluation.metrics import Counter, Matrix, confusion, under
from harness.records.schema import Scores


@dataclass(frozen=True)
class Metric:
    """A figure of one network on one data set, in the scenario's convention."""

    name: str  # in records, --columns, --sort and --set metrics
    title: str  # above a column
    unit: str
    higher_is_better: bool
    #: What a batch adds up, given class set and convention. The same function counts once for all.
    counter: Callable[[ClassSet, Convention], Counter]
    #: The figure, from all that was counted; NaN where nothing was.
    value: Callable[[npt.NDArray[np.int64], ClassSet, Convention], float]
    #: Measured where `--set metrics=NAME` asks for it alone, because it takes time.
    on_request: bool = False
    model_card: str = ""  # its type in a model card of the Hugging Face hub, where it has another


def pixel_accuracy(matrix: Matrix, classes: ClassSet, convention: Convention) -> float:
    """Share of labelled pixels that are right, percent; NaN where none is labelled."""
    scored, _ = under(matrix, classes, convention)
    return float(100 * np.diag(scored).sum() / scored.sum()) if scored.any() else np.nan


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="pixel_accuracy",
            title="pixel accuracy",
            unit="%",
            higher_is_better=True,
            counter=lambda classes, convention: confusion,
            value=pixel_accuracy,
            model_card="accuracy",
        ),
        Metric(
            name="boundary_iou",
            title="boundary IoU",
            unit="%",
            higher_is_better=True,
            counter=boundary.counter,
            value=boundary.boundary_iou,
            on_request=True,
        ),
    )
}


def check_metrics(names: Iterable[str]) -> None:
    """BenchError for what is no metric that a run may ask for."""
    on_request = [name for name, metric in METRICS.items() if metric.on_request]
    for name in names:
        if name in METRICS and name not in on_request:
            raise BenchError(
                f"--set metrics: {name} is measured in every run; expected those on request: "
                f"{', '.join(on_request)}."
            )
        if name not in on_request:
            raise unknown("metric in --set metrics:", name, on_request)


def counters(names: Iterable[str], classes: ClassSet, convention: Convention) -> dict[str, Counter]:
    """What is counted for each metric of a run: those of every run, and those asked for."""
    asked = set(names)
    return {
        name: metric.counter(classes, convention)
        for name, metric in METRICS.items()
        if not metric.on_request or name in asked
    }


def figures(
    counted: Mapping[str, npt.NDArray[np.int64]], classes: ClassSet, convention: Convention
) -> dict[str, float]:
    """The figure of each metric by its name, from what was counted for it."""
    return {name: METRICS[name].value(of, classes, convention) for name, of in counted.items()}


def measured(scores: Scores) -> list[tuple[Metric, float]]:
    """The registered metrics that such scores hold, with their figures."""
    return [
        (metric, scores.figures[name]) for name, metric in METRICS.items() if name in scores.figures
    ]
