"""Validators against their definitions, and what rules choose by them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.evaluation import validators
from harness.evaluation.validators import LabelFreeSums, agreement, chosen, entropy, information
from harness.records.schema import CurvePoint, NetworkScores


def probabilities(*shape: int) -> torch.Tensor:
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return (3 * logits).softmax(1)


def certain(*classes: int) -> torch.Tensor:
    """(1, 3, 1, W): each pixel sure of its class."""
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).float().T[None, :, None]


def test_entropy_is_zero_where_all_is_certain_and_highest_where_nothing_is():
    assert float(entropy(certain(0, 1, 1))) == 0
    assert float(entropy(torch.full((1, 19, 2, 3), 1 / 19))) == pytest.approx(math.log(19))
    assert float(entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))) == pytest.approx(math.log(2) / 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (certain(0, 0, 1, 1), math.log(2)),  # sure of each, of two classes alike
        (certain(0, 1, 2), math.log(3)),
        (certain(2, 2, 2), 0.0),  # sure, of one class only
        (torch.full((1, 3, 2, 2), 1 / 3), 0.0),  # sure of none
    ],
)
def test_information_wants_certainty_and_many_classes(given, expected):
    mean = given.mean((0, 2, 3))
    assert information(mean, float(entropy(given))) == pytest.approx(expected, abs=1e-6)


def test_density_is_the_published_formula():
    given = probabilities(7, 4)
    unit = given.double().numpy()
    unit /= np.sqrt((unit**2).sum(1, keepdims=True))
    entropies = []
    for pixel in range(7):
        others = np.delete(unit, pixel, 0) @ unit[pixel] / 0.05
        share = np.exp(others) / np.exp(others).sum()
        entropies.append(-(share * np.log(share)).sum())
    ours = float(validators.neighbourhood_density(given))
    assert ours == pytest.approx(np.mean(entropies), rel=1e-5)


def test_density_counts_the_neighbours_that_are_alike():
    """Two groups of four: each pixel has three others of its kind."""
    given = certain(0, 0, 0, 0, 1, 1, 1, 1)[0, :, 0].T
    assert float(validators.neighbourhood_density(given)) == pytest.approx(math.log(3), rel=1e-4)


def test_agreement_is_a_mean_over_the_classes_that_either_predicts():
    same = np.diag([3, 0, 2]).astype(np.int64)
    assert agreement(same) == 100
    # Class 0: 3 of 4 pixels alike; class 1, which one of them predicts only: none.
    other = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert agreement(other) == agreement(other.T) == pytest.approx((75 + 0) / 2)


def test_images_one_by_one_are_all_pixels_at_once():
    images = probabilities(3, 5, 4, 6)
    collected = LabelFreeSums()
    for image in images:
        collected.add(image[None])
    values, mean = collected.values(), images.mean((0, 2, 3))
    assert values["entropy"] == pytest.approx(float(entropy(images)), rel=1e-5)
    assert values["infomax"] == pytest.approx(information(mean, float(entropy(images))), rel=1e-4)
    densities = [float(validators.neighbourhood_density(i.flatten(1).T)) for i in images]
    assert values["snd"] == pytest.approx(np.mean(densities), rel=1e-4)


def test_a_large_image_is_sampled_the_same_way_each_time():
    large = probabilities(1, 3, 40, 40)
    first, second = LabelFreeSums(), LabelFreeSums()
    first.add(large)
    second.add(large)
    assert first.values() == second.values()
    assert first.values()["snd"] <= math.log(validators.NEIGHBOURS - 1)


def point(step: int, miou: float, agreement: float | None = None, **scores: float) -> CurvePoint:
    values = {"entropy": 1.0, "infomax": 1.0, "snd": 1.0, **scores}
    return CurvePoint(step=step, student=NetworkScores(miou=miou, **values), agreement=agreement)


POINTS = [
    point(10, 30.0, 50.0, entropy=0.9, infomax=1.1, snd=2.0),
    point(20, 33.0, 60.0, entropy=0.5, infomax=1.2, snd=1.0),
    point(30, 31.0, 55.0, entropy=0.6, infomax=1.3, snd=1.5),
]


@pytest.mark.parametrize(
    ("rule", "step"),
    [("last", 30), ("entropy", 20), ("infomax", 30), ("snd", 10), ("agreement", 20),
     ("oracle", 20)],
)  # fmt: skip
def test_each_rule_chooses_the_better_end_of_what_it_looks_at(rule, step):
    picked = chosen(POINTS, rule, "student")
    assert picked is not None
    assert picked.step == step


def test_of_equal_points_the_first_is_chosen_and_nothing_of_unknown_ones():
    equal = [point(10, 30.0), point(20, 30.0)]
    assert chosen(equal, "oracle", "student") == equal[0]
    assert chosen(equal, "agreement", "student") is None, "no EMA teacher"
    assert chosen(equal, "oracle", "ema_teacher") is None
    broken = [point(10, 30.0, snd=math.nan), point(20, 30.0, snd=1.0)]
    assert chosen(broken, "snd", "student") == broken[1]
    assert chosen([], "last", "student") is None
