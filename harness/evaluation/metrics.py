"""Evaluation: a streaming confusion matrix, and the scores that each convention makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.config.class_set import ClassSet, Convention
from harness.data.classes import IGNORE
from harness.evaluation.inference import WHOLE, Autocast, Views, predicted
from harness.records.schema import Scores

if TYPE_CHECKING:
    from torch import Tensor

    from methods.contract import Segmentor

Matrix = npt.NDArray[np.int64]
#: Prediction, label (B, H, W) and number of classes -> integers that add up over batches.
Counter = Callable[["Tensor", "Tensor", int], "Tensor"]


def confusion(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """Count [label][prediction] pairs -> (classes, classes) int64, on the tensors' device.

    prediction and label are integer tensors of one shape; ignored pixels (255) are counted apart
    and left out. A label that is neither a class nor 255 is an error of the caller's: ValueError.
    """
    cells = (label.long() * classes).add_(prediction).flatten().bincount(minlength=256 * classes)
    if len(cells) > 256 * classes or cells[classes**2 : IGNORE * classes].any():
        raise ValueError(f"labels outside of 0 to {classes - 1} and {IGNORE}")
    return cells[: classes**2].view(classes, classes)


def evaluate(
    network: Segmentor,
    batches: Iterable[tuple[Tensor, ...]],
    autocast: Autocast = nullcontext,
    views: Views = WHOLE,
) -> Matrix:
    """Confusion matrix of the network in eval mode, on whole images unless `views` says more.

    batches yields (image (B, 3, H, W), label (B, h, w)), with an image for each scale of the
    views; logits are resized bilinearly to the image and again to the label, as the reference does.
    Where several processes train together, the matrix is over the batches of all.
    """
    return tally(network, batches, [confusion], autocast, views)[confusion]


def tally(
    network: Segmentor,
    batches: Iterable[tuple[Tensor, ...]],
    counters: Iterable[Counter],
    autocast: Autocast = nullcontext,
    views: Views = WHOLE,
) -> dict[Counter, npt.NDArray[np.int64]]:
    """What each counter counts of the same predictions, as `evaluate` makes them."""
    import torch

    from methods.networks.modes import evaluating
    from methods.parts import joined

    distinct = list(dict.fromkeys(counters))
    totals: list[Tensor] = []
    # Not in inference mode: what a network keeps of a forward may serve a training that goes on.
    with evaluating(network), torch.no_grad():
        for *images, label in batches:
            prediction = predicted(network, images, label.shape[-2:], views, autocast)
            counted = [counter(prediction, label, network.num_classes) for counter in distinct]
            totals = [a + b for a, b in zip(totals, counted, strict=True)] if totals else counted
    if not totals and joined.processes() > 1:  # fewer images than processes
        no_image = torch.zeros(0, 1, 1, dtype=torch.int64)
        totals = [counter(no_image, no_image, network.num_classes) for counter in distinct]
    assert totals, "no validation image"
    summed = [joined.total(total.cpu()).numpy() for total in totals]
    return dict(zip(distinct, summed, strict=True))


def iou(matrix: Matrix) -> npt.NDArray[np.float64]:
    """Intersection over union by class, in percent.

    A class absent from label and prediction is NaN; one that is predicted only is 0.
    """
    intersection = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.divide(100 * intersection, union, out=np.full(len(matrix), np.nan), where=union > 0)


def without_labels(matrix: Matrix, kept: Sequence[int]) -> Matrix:
    """The matrix had every other class's ground truth been ignored (255)."""
    rows = np.zeros(len(matrix), bool)
    rows[list(kept)] = True
    return np.where(rows[:, None], matrix, 0)


def merge(matrix: Matrix, groups: Iterable[Sequence[int]]) -> Matrix:
    """Merge classes on both axes; classes of no group leave the labels, not the predictions.

    A prediction of no group lands in a last column and row of its own, which holds no label.
    """
    groups = [list(group) for group in groups]
    index = np.full(len(matrix), len(groups))
    for number, group in enumerate(groups):
        index[group] = number
    merged = np.zeros((len(groups) + 1,) * 2, np.int64)
    np.add.at(merged, (index[:, None], index[None, :]), matrix)
    merged[-1] = 0
    return merged


def under(matrix: Matrix, classes: ClassSet, convention: Convention) -> tuple[Matrix, list[str]]:
    """The matrix that a convention scores, and the names of its classes in their order.

    Ground truth that the convention ignores is gone, classes of a group are one.
    """
    if convention.labelled:
        matrix = without_labels(matrix, classes.ids_of(convention.labelled))
    if not convention.groups:
        return matrix, list(classes.names)
    groups = [classes.ids_of(group) for group in convention.groups.values()]
    return merge(matrix, groups), list(convention.groups)


def by_class(matrix: Matrix, classes: ClassSet, convention: Convention) -> dict[str, float]:
    """IoU in percent of the classes that a convention's mean is over; NaN where absent."""
    scored, _ = under(matrix, classes, convention)
    return over_mean(iou(scored), classes, convention)


def over_mean(
    values: npt.NDArray[np.float64], classes: ClassSet, convention: Convention
) -> dict[str, float]:
    """Of a convention's values by class, by name, those that its mean is over."""
    names = list(convention.groups or classes.names)
    by_name = dict(zip(names, values.tolist(), strict=False))  # merged: a last one of no group
    return {name: by_name[name] for name in names if name in (convention.mean or names)}


def conventions(matrix: Matrix, classes: ClassSet, convention: str) -> dict[str, float]:
    """MIoU in percent under every convention that fits a scenario of that convention.

    One that merges classes stands alone: its figure is over others than those of the network.
    """
    ways = classes.ways_to_score
    if ways[convention].groups:
        ways = {convention: ways[convention]}
    return {
        name: mean_iou(by_class(matrix, classes, way).values())
        for name, way in ways.items()
        if name == convention or not way.groups
    }


def mean_iou(values: Iterable[float]) -> float:
    """Mean over those that are not NaN; NaN where all are."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def scores(
    matrix: Matrix, classes: ClassSet, convention: str, figures: Mapping[str, float] | None = None
) -> Scores:
    """Every score of one network, its `miou` in the scenario's convention.

    figures: of registered metrics, by name (harness/evaluation/registry.py).
    """
    mious = conventions(matrix, classes, convention)
    return Scores(
        miou=mious[convention],
        iou={
            name: None if np.isnan(value) else round(value, 3)
            for name, value in by_class(matrix, classes, classes.ways_to_score[convention]).items()
        },
        figures=dict(figures or {}),
        conventions=mious,
        confusion=matrix.tolist(),
    )


def unscored(classes: ClassSet, convention: str) -> Scores:
    """What stands in a record's place for scores where the target has no labels: NaN and None."""
    return Scores(
        miou=np.nan,
        iou=dict.fromkeys(classes.names),
        conventions={convention: np.nan},
        confusion=[],
    )
