"""Scores of given predictions."""

from __future__ import annotations

import numpy as np
from cityscapes import CITYSCAPES
from golden.compare import Comparison, arrays, deviation, differing, tensor

from harness.evaluation.metrics import Matrix, confusion, iou, mean_iou
from harness.evaluation.registry import METRICS

METRIC = "k_metric.npz"


def matrix() -> Matrix:
    """Confusion matrix of all three images."""
    return confusion(tensor(METRIC, "pred"), tensor(METRIC, "gt"), 19).numpy()


def histograms() -> float:
    """Intersection, union, predicted and labelled pixels of each class, image by image."""
    pred, gt = tensor(METRIC, "pred"), tensor(METRIC, "gt")
    ours = []
    for p, g in zip(pred, gt, strict=True):
        counts = confusion(p, g, 19).numpy()
        hits, predicted, labelled = counts.diagonal(), counts.sum(0), counts.sum(1)
        ours.append([hits, predicted + labelled - hits, predicted, labelled])
    return differing(np.array(ours), arrays(METRIC)["per_image_intersect_union_pred_label"])


def by_class() -> float:
    return deviation(iou(matrix()) / 100, arrays(METRIC)["IoU"])


def mean() -> float:
    """The reference reports it to two decimals of a percent."""
    return deviation(round(mean_iou(iou(matrix())), 2), 100 * arrays(METRIC)["mIoU_reported"])


def pixel_accuracy() -> float:
    ours = METRICS["pixel_accuracy"].value(matrix(), CITYSCAPES, CITYSCAPES.ways_to_score["all19"])
    return deviation(ours / 100, arrays(METRIC)["aAcc"])


COMPARISONS = [
    Comparison("pixel counts of each class and image", METRIC, 0, histograms),
    Comparison("IoU of each class, NaN where absent", METRIC, 1e-9, by_class),
    Comparison("mIoU", METRIC, 1e-9, mean),
    Comparison("pixel accuracy", METRIC, 1e-9, pixel_accuracy),
]
