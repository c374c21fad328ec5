"""Evaluation: a streaming confusion matrix, and the scores that each convention makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.data.classes import CAMVID_GROUPS, CLASSES, IGNORE, SYNTHIA_13, SYNTHIA_16
from harness.evaluation.inference import WHOLE, Autocast, Views, class_scores, most_likely
from harness.records.schema import Scores

if TYPE_CHECKING:
    from torch import Tensor

    from methods.contract import Segmentor

Matrix = npt.NDArray[np.int64]
ALL_19 = tuple(range(len(CLASSES)))


def confusion(prediction: Tensor, label: Tensor, classes: int = len(CLASSES)) -> Tensor:
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
    import torch

    from methods.networks.modes import evaluating
    from methods.parts import joined

    total: Tensor | None = None
    # Not in inference mode: what a network keeps of a forward may serve a training that goes on.
    with evaluating(network), torch.no_grad():
        for *images, label in batches:
            scored = class_scores(network, images, label.shape[-2:], views, autocast)
            counts = confusion(most_likely(scored), label)
            total = counts if total is None else total + counts
    if total is None and joined.processes() > 1:  # fewer images than processes
        total = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64)
    assert total is not None, "no validation image"
    return joined.total(total.cpu()).numpy()


def iou(matrix: Matrix) -> npt.NDArray[np.float64]:
    """Intersection over union by class, in percent.

    A class absent from label and prediction is NaN; one that is predicted only is 0.
    """
    intersection = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.divide(100 * intersection, union, out=np.full(len(matrix), np.nan), where=union > 0)


def mean_iou(values: npt.NDArray[np.float64], classes: Sequence[int] = ALL_19) -> float:
    """Mean over those classes that are not NaN."""
    return float(np.nanmean(values[list(classes)]))


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


def conventions(matrix: Matrix, convention: str) -> dict[str, float]:
    """MIoU in percent under every convention that fits a scenario of that convention.

    rescaled19: the 19-class matrix, the mean over SYNTHIA's 16 classes (DAFormer).
    ignored16: the ground truth of terrain, truck, train is ignored first (ADVENT).
    The ending _13 means over 13 classes, without wall, fence, pole.
    """
    if convention == "camvid11":
        merged = merge(matrix, CAMVID_GROUPS.values())
        return {"camvid11": mean_iou(iou(merged), range(len(CAMVID_GROUPS)))}
    rescaled = iou(matrix)
    by_convention = {"all19": mean_iou(rescaled)}
    # What SYNTHIA lacks leaves the labels for both means; 13 classes leave more out of the mean.
    ignored = iou(without_labels(matrix, SYNTHIA_16))
    for suffix, classes in (("", SYNTHIA_16), ("_13", SYNTHIA_13)):
        by_convention[f"rescaled19{suffix}"] = mean_iou(rescaled, classes)
        by_convention[f"ignored16{suffix}"] = mean_iou(ignored, classes)
    return by_convention


def scores(matrix: Matrix, convention: str) -> Scores:
    """Every score of one network, its `miou` in the scenario's convention."""
    scored = matrix
    names: Sequence[str] = CLASSES
    classes: Sequence[int] = ALL_19
    if convention == "camvid11":
        scored = merge(matrix, CAMVID_GROUPS.values())
        names, classes = list(CAMVID_GROUPS), range(len(CAMVID_GROUPS))
    elif convention in ("rescaled19", "ignored16"):
        classes = SYNTHIA_16
        scored = without_labels(matrix, classes) if convention == "ignored16" else matrix
    by_class = iou(scored)
    return Scores(
        miou=conventions(matrix, convention)[convention],
        iou={
            names[c]: None if np.isnan(by_class[c]) else round(float(by_class[c]), 3)
            for c in classes
        },
        pixel_accuracy=float(100 * np.diag(scored).sum() / scored.sum())
        if scored.any()
        else np.nan,
        conventions=conventions(matrix, convention),
        confusion=matrix.tolist(),
    )
