"""Boundary IoU against masks eroded pixel by pixel, class by class."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cityscapes import CITYSCAPES

from harness.evaluation.boundary import WIDTH, boundary, boundary_iou, counter


def near_contours(mask):
    """A mask less the pixels whose whole neighbourhood lies in it, as the paper defines it."""
    height, width = mask.shape
    reach = max(1, round(WIDTH * math.hypot(height, width)))
    padded = np.pad(mask, reach)
    near = np.zeros_like(mask)
    for row, column in zip(*np.nonzero(mask), strict=True):
        near[row, column] = not padded[
            row : row + 2 * reach + 1, column : column + 2 * reach + 1
        ].all()
    return near


def streets(seed, size=(40, 90)):
    """Blocks of a few classes, some of them ignored: (H, W)."""
    blocks = np.random.default_rng(seed).choice([0, 1, 10, 13, 14, 255], (5, 6))
    return np.kron(blocks, np.ones((size[0] // 5, size[1] // 6), np.int64))


def brute(predictions, labels, groups, kept, mean):
    """Mean over classes, percent: sets of pixels near contours, over all images."""
    values = []
    for name in mean:
        both = union = 0
        for prediction, label in zip(predictions, labels, strict=True):
            ignored = ~np.isin(label, kept)
            truth = np.isin(label, groups[name]) & ~ignored
            predicted = np.isin(prediction, groups[name]) & ~ignored
            one, other = near_contours(truth), near_contours(predicted)
            both, union = both + (one & other).sum(), union + (one | other).sum()
        if union:
            values.append(100 * both / union)
    return np.mean(values)


@pytest.mark.parametrize("convention", ["all19", "rescaled19", "ignored16", "camvid11"])
def test_boundary_iou_is_that_of_masks_class_by_class(convention):
    way = CITYSCAPES.ways_to_score[convention]
    labels = [streets(1), streets(2)]
    predictions = [np.roll(np.where(label == 255, 13, label), 2, axis=1) for label in labels]
    groups = {name: CITYSCAPES.ids_of([name]) for name in CITYSCAPES.names}
    groups |= {name: CITYSCAPES.ids_of(group) for name, group in way.groups.items()}
    names = list(way.groups or CITYSCAPES.names)
    kept = CITYSCAPES.ids_of(way.labelled) if way.labelled else range(19)
    grouped = [i for name in way.groups for i in groups[name]]
    expected = brute(predictions, labels, groups, sorted(set(grouped or kept)), way.mean or names)
    count = counter(CITYSCAPES, way)
    counted = count(torch.tensor(np.stack(predictions)), torch.tensor(np.stack(labels)), 19)
    assert boundary_iou(counted.numpy(), CITYSCAPES, way) == pytest.approx(expected, abs=1e-9)
    assert 5 < expected < 95


def test_pixels_near_a_contour_are_those_within_2_percent_of_the_diagonal():
    classes = torch.zeros(1, 120, 160, dtype=torch.int64)  # a diagonal of 200: 4 pixels
    classes[:, :, 80:] = 1
    near = boundary(classes)[0]
    assert near[60].nonzero().flatten().tolist() == [*range(4), *range(76, 84), *range(156, 160)]
    assert near[:, 40].nonzero().flatten().tolist() == [*range(4), *range(116, 120)]


def test_a_perfect_prediction_gets_100_percent_beside_ignored_pixels_too():
    way = CITYSCAPES.ways_to_score["all19"]
    label = torch.tensor(streets(3))[None]
    counted = counter(CITYSCAPES, way)(label.where(label != 255, 7), label, 19)
    assert boundary_iou(counted.numpy(), CITYSCAPES, way) == 100


def test_contours_within_a_group_of_classes_are_none():
    way = CITYSCAPES.ways_to_score["camvid11"]
    alike = [
        number
        for number in range(19)
        if number
        in CITYSCAPES.ids_of(next(group for group in way.groups.values() if len(group) > 1))
    ][:2]
    label = torch.full((1, 50, 60), alike[0])
    label[:, :, 30:] = alike[1]
    counted = counter(CITYSCAPES, way)(torch.full_like(label, alike[0]), label, 19)
    assert boundary_iou(counted.numpy(), CITYSCAPES, way) == 100


def test_without_a_labelled_pixel_there_is_no_figure():
    way = CITYSCAPES.ways_to_score["all19"]
    label = torch.full((1, 20, 20), 255)
    counted = counter(CITYSCAPES, way)(torch.zeros_like(label), label, 19)
    assert math.isnan(boundary_iou(counted.numpy(), CITYSCAPES, way))
