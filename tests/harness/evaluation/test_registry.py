"""Registered metrics: what they count adds up, and records of before the registry are read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cityscapes import CITYSCAPES
from fake_records import fake_record

from harness.errors import BenchError
from harness.evaluation.metrics import confusion, tally
from harness.evaluation.registry import METRICS, check_metrics, counters, figures
from harness.records.schema import Scores
from methods.contract import Segmentation


class Guess(torch.nn.Module):
    num_classes = 19

    def forward(self, image):
        logits = torch.nn.functional.one_hot(image[:, 0].long(), 19).permute(0, 3, 1, 2).float()
        return Segmentation(logits, [], logits)


def images(count):
    label = torch.randint(19, (count, 24, 32), generator=torch.Generator().manual_seed(0))
    seen = label.roll(1, 2)
    return seen[:, None].repeat(1, 3, 1, 1).float(), label.where(label != 4, 255)


@pytest.mark.parametrize("convention", list(CITYSCAPES.ways_to_score))
def test_every_metric_is_the_same_however_images_are_batched(convention):
    way = CITYSCAPES.ways_to_score[convention]
    wanted = counters(METRICS, CITYSCAPES, way)
    assert list(wanted) == list(METRICS)

    def scored(at_once):
        image, label = images(4)
        batches = list(zip(image.split(at_once), label.split(at_once), strict=True))
        counted = tally(Guess(), batches, wanted.values())
        return figures({n: counted[c] for n, c in wanted.items()}, CITYSCAPES, way)

    assert scored(1) == scored(2) == scored(4)


def test_counts_of_no_image_have_the_shape_of_others():
    """Of a process that has no image to score, where a run has more processes than images."""
    way = CITYSCAPES.ways_to_score["camvid11"]
    none = torch.zeros(0, 1, 1, dtype=torch.int64)
    _, label = images(1)
    for count in counters(METRICS, CITYSCAPES, way).values():
        empty = count(none, none, 19)
        assert empty.shape == count(label.clamp(max=18), label, 19).shape
        assert not empty.any()


def test_what_costs_time_is_measured_on_request_alone():
    way = CITYSCAPES.ways_to_score["all19"]
    assert list(counters((), CITYSCAPES, way)) == ["pixel_accuracy"]
    assert list(counters(["boundary_iou"], CITYSCAPES, way)) == ["pixel_accuracy", "boundary_iou"]


def test_pixel_accuracy_is_the_share_of_labelled_pixels_within_the_conventions_classes():
    def accuracy(matrix, convention):
        way = CITYSCAPES.ways_to_score[convention]
        return METRICS["pixel_accuracy"].value(matrix, CITYSCAPES, way)

    prediction, label = torch.tensor([[[14, 18, 0]]]), torch.tensor([[[13, 12, 0]]])
    matrix = confusion(prediction, label, 19).numpy()
    assert accuracy(matrix, "camvid11") == 100
    assert accuracy(matrix, "all19") == pytest.approx(100 / 3)
    for convention in ("all19", "ignored16", "camvid11"):
        assert math.isnan(accuracy(np.zeros((19, 19), np.int64), convention))


def test_a_record_of_before_the_registry_is_read_with_its_pixel_accuracy():
    scores = fake_record().metrics.student
    old = scores.model_dump(exclude={"figures"}) | {"pixel_accuracy": 81.25}
    assert Scores.model_validate(old).figures == {"pixel_accuracy": 81.25}
    assert Scores.model_validate_json(scores.model_dump_json()) == scores


def test_a_metric_that_is_none_is_refused_and_near_names_are_given():
    check_metrics(["boundary_iou"])
    with pytest.raises(BenchError, match="did you mean 'boundary_iou'"):
        check_metrics(["boundry_iou"])
    with pytest.raises(BenchError, match="pixel_accuracy is measured in every run"):
        check_metrics(["pixel_accuracy"])
