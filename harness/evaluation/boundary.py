"""Boundary IoU: how well the pixels near the contours of classes are found."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.config.class_set import ClassSet, Convention
from harness.data.classes import IGNORE
from harness.evaluation.metrics import Counter, mean_iou, over_mean

if TYPE_CHECKING:
    from torch import Tensor

#: Of the image's diagonal: how far from a contour a pixel belongs to its boundary, as published.
WIDTH = 0.02
OUTSIDE = -1  # a class that no pixel has: an image's border is a contour


def boundary(classes: Tensor) -> Tensor:
    """Whether each pixel lies near the contour of its class: (B, H, W) -> (B, H, W) bool.

    Near: another class, or the outside of the image, is within 2 % of the diagonal in rows and in
    columns, one pixel at least. Equal to a mask less its erosion by a square, of all classes at
    once. Source: Cheng et al., Boundary IoU, CVPR 2021, and its code.
    """
    import torch
    import torch.nn.functional as F

    height, width = classes.shape[-2:]
    reach = max(1, round(WIDTH * math.hypot(height, width)))
    padded = F.pad(classes.short(), (reach,) * 4, value=OUTSIDE)  # (B, H + 2 reach, W + 2 reach)
    highest, lowest = padded, padded
    for dim in (-2, -1):
        highest = _windows(highest, 2 * reach + 1, dim, torch.maximum)
        lowest = _windows(lowest, 2 * reach + 1, dim, torch.minimum)
    return highest != lowest


def _windows(
    values: Tensor, width: int, dim: int, extreme: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The extreme of each `width` neighbours along a dimension, of which width - 1 fewer are left.

    Windows of two, of four and so on: a logarithm of the width many passes.
    """
    covered = 1
    while covered < width:
        step = min(covered, width - covered)
        left = values.size(dim) - step
        values = extreme(values.narrow(dim, 0, left), values.narrow(dim, step, left))
        covered += step
    return values


def counter(classes: ClassSet, convention: Convention) -> Counter:
    """What is counted of a batch for boundary IoU under a convention: see `counts`."""
    groups = [classes.ids_of(group) for group in convention.groups.values()]
    groups = groups or [classes.ids_of([name]) for name in classes.names]
    predicted = np.full(256, len(groups))  # of no group: a last class of its own
    for number, group in enumerate(groups):
        predicted[list(group)] = number
    labelled = np.where(predicted == len(groups), IGNORE, predicted)
    if convention.labelled:
        kept = np.isin(np.arange(256), classes.ids_of(convention.labelled))
        labelled = np.where(kept, labelled, IGNORE)
    return partial(_mapped_counts, predicted=predicted, labelled=labelled, groups=len(groups))


def _mapped_counts(
    prediction: Tensor,
    label: Tensor,
    classes: int,
    *,
    predicted: npt.NDArray[np.int64],
    labelled: npt.NDArray[np.int64],
    groups: int,
) -> Tensor:
    """`counts` of a convention's classes, contours within a group being none."""
    import torch

    device = label.device
    prediction = torch.from_numpy(predicted).to(device)[prediction.long()]
    return counts(prediction, torch.from_numpy(labelled).to(device)[label.long()], groups + 1)


def counts(prediction: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixels near contours by class -> (3, classes) int64: in both and right, label, prediction.

    prediction, label: (B, H, W), integers. Ignored pixels (255) are in none, and are another class
    than all in prediction and label alike, so that a perfect prediction gets 100 %.
    """
    import torch

    ignored = label == IGNORE
    prediction = prediction.masked_fill(ignored, IGNORE)
    of_label, of_prediction = boundary(label) & ~ignored, boundary(prediction) & ~ignored
    both = of_label & of_prediction & (label == prediction)
    pairs = ((label, both), (label, of_label), (prediction, of_prediction))
    return torch.stack([of[where].bincount(minlength=classes) for of, where in pairs])


def boundary_iou(
    counted: npt.NDArray[np.int64], classes: ClassSet, convention: Convention
) -> float:
    """Mean over the convention's classes of intersection over union near contours, percent.

    counted: (3, classes), summed over all images, as mIoU's pixels are. A class that is neither
    labelled nor predicted is left out; NaN where none is left.
    """
    both, label, prediction = counted
    union = label + prediction - both
    values = np.divide(100 * both, union, out=np.full(len(union), np.nan), where=union > 0)
    return mean_iou(over_mean(values, classes, convention).values())
