"""The streaming confusion matrix and its conventions against counting pixels class by class."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from cityscapes import CAMVID_GROUPS, CITYSCAPES, CLASSES, SYNTHIA_13, SYNTHIA_16
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.data.classes import IGNORE
from harness.evaluation.metrics import confusion, conventions, evaluate, iou, mean_iou, scores
from methods.contract import Segmentation
from methods.parts.ema import EMATeacher

EVERY_CLASS = tuple(range(19))


def brute_iou(prediction, label, classes) -> list[float]:
    """IoU by class from its definition, in percent: sets of pixels, nothing streamed."""
    kept = label != IGNORE
    values = []
    for c in classes:
        mine, truth = kept & (prediction == c), kept & (label == c)
        union = (mine | truth).sum()
        values.append(100 * (mine & truth).sum() / union if union else np.nan)
    return values


def brute_miou(prediction, label, classes) -> float:
    present = [value for value in brute_iou(prediction, label, classes) if not np.isnan(value)]
    return sum(present) / len(present) if present else np.nan


def matrix_of(prediction, label):
    return confusion(torch.from_numpy(prediction), torch.from_numpy(label), 19).numpy()


@st.composite
def pictures(draw):
    """Predictions (n, h, w) and labels with 255, over few classes so that many are absent."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))
    classes = draw(st.lists(st.sampled_from(EVERY_CLASS), min_size=1, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prediction = rng.choice(classes, shape)
    label = np.where(rng.random(shape) < 0.4, prediction, rng.choice([*classes, IGNORE], shape))
    label = np.where(rng.random(shape) < 0.1, rng.choice(EVERY_CLASS, shape), label)
    return prediction, label


quick = settings(max_examples=60, deadline=None)


@quick
@given(pictures())
def test_iou_equals_brute_force(picture):
    prediction, label = picture
    ious = iou(matrix_of(prediction, label))
    np.testing.assert_allclose(ious, brute_iou(prediction, label, EVERY_CLASS), rtol=1e-12)


@quick
@given(pictures(), st.randoms(use_true_random=False))
def test_how_images_are_split_into_batches_does_not_matter(picture, random):
    prediction, label = picture
    cuts = sorted({0, len(label), *(random.randrange(len(label) + 1) for _ in range(2))})
    parts = [matrix_of(prediction[a:b], label[a:b]) for a, b in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(sum(parts), matrix_of(prediction, label))


@quick
@given(pictures())
def test_every_convention_equals_relabelling_pixels_first(picture):
    prediction, label = picture
    matrix = matrix_of(prediction, label)
    without = np.where(np.isin(label, SYNTHIA_16), label, IGNORE)
    expected = {
        "all19": brute_miou(prediction, label, EVERY_CLASS),
        "rescaled19": brute_miou(prediction, label, SYNTHIA_16),
        "rescaled19_13": brute_miou(prediction, label, SYNTHIA_13),
        "ignored16": brute_miou(prediction, without, SYNTHIA_16),
        "ignored16_13": brute_miou(prediction, without, SYNTHIA_13),
    }
    assert conventions(matrix, CITYSCAPES, "rescaled19") == pytest.approx(expected, nan_ok=True)

    group_of = {c: g for g, members in enumerate(CAMVID_GROUPS.values()) for c in members}
    regroup = np.vectorize(lambda c: group_of.get(c, IGNORE), otypes=[int])
    expected = {"camvid11": brute_miou(regroup(prediction), regroup(label), range(11))}
    assert conventions(matrix, CITYSCAPES, "camvid11") == pytest.approx(expected, nan_ok=True)


@quick
@given(pictures(), st.sampled_from(["all19", "rescaled19", "ignored16", "camvid11"]))
def test_scores_agree_with_themselves(picture, convention):
    matrix = matrix_of(*picture)
    result = scores(matrix, CITYSCAPES, convention)
    present = [value for value in result.iou.values() if value is not None]
    mean = np.mean(present) if present else np.nan
    assert result.miou == pytest.approx(mean, abs=0.001, nan_ok=True)  # classes are rounded
    assert result.miou == pytest.approx(result.conventions[convention], nan_ok=True)
    assert result.confusion == matrix.tolist()
    count = {"all19": 19, "rescaled19": 16, "ignored16": 16, "camvid11": 11}[convention]
    assert len(result.iou) == count


def test_absent_everywhere_is_left_out_and_predicted_only_is_zero():
    label = np.array([[0, 0, 1, 1]])
    prediction = np.array([[0, 0, 1, 2]])
    values = iou(matrix_of(prediction, label))
    assert values[:3].tolist() == [100.0, 50.0, 0.0]
    assert np.isnan(values[3:]).all()
    assert mean_iou(values) == 50.0
    ious = scores(matrix_of(prediction, label), CITYSCAPES, "all19").iou
    assert ious[CLASSES[2]] == 0.0
    assert ious[CLASSES[3]] is None


def test_ignored_pixels_count_nowhere():
    label = np.array([[0, IGNORE, IGNORE]])
    matrix = matrix_of(np.array([[0, 0, 5]]), label)
    assert matrix.sum() == 1
    assert mean_iou(iou(matrix)) == 100.0


def test_counts_are_exact_beyond_what_floats_hold():
    """A full Cityscapes validation set has a billion pixels: int64, never float32."""
    matrix = np.zeros((19, 19), np.int64)
    matrix[0, 0] = 2**24 + 1
    total = torch.from_numpy(matrix) + confusion(torch.tensor([0]), torch.tensor([0]), 19)
    assert total.dtype == torch.int64
    assert total[0, 0].item() == 2**24 + 2


def test_synthias_two_conventions_differ_by_what_it_lacks():
    """A truck (14) seen as car (13): an error for rescaled19, unseen by ignored16."""
    matrix = matrix_of(np.array([[13, 13, 0]]), np.array([[13, 14, 0]]))
    mious = conventions(matrix, CITYSCAPES, "rescaled19")
    assert mious["rescaled19"] == pytest.approx((100 + 50) / 2)
    assert mious["ignored16"] == pytest.approx(100)
    assert mious["all19"] == pytest.approx((100 + 50 + 0) / 3)


def test_camvid_forgives_confusion_within_a_group():
    matrix = matrix_of(np.array([[14, 18, 0]]), np.array([[13, 12, 0]]))
    assert conventions(matrix, CITYSCAPES, "camvid11") == {"camvid11": 100.0}


class ByColour(nn.Module):
    """Reads the class off the red channel, at a quarter of the resolution; has a BatchNorm."""

    num_classes = 19

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)
        self.modes: list[bool] = []

    def forward(self, image):
        self.modes.append(self.norm.training)
        red = image[:, 0, ::4, ::4].long()
        logits = torch.nn.functional.one_hot(red, 19).permute(0, 3, 1, 2).float()
        return Segmentation(logits, [], logits)


def test_a_perfect_network_gets_everything_right_at_the_labels_own_size():
    blocks = torch.tensor([[[0, 5], [13, 18]], [[10, 10], [255, 2]]])
    label = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)  # twice the image's size
    red = label[:, ::2, ::2].clamp(max=18)
    image = red[:, None].repeat(1, 3, 1, 1).float()
    matrix = evaluate(ByColour(), [(image[:1], label[:1]), (image[1:], label[1:])])
    assert matrix.shape == (19, 19)
    assert matrix.sum() == (label != 255).sum()
    # Blocks meet without blending along one boundary pixel a side at most.
    assert np.diag(matrix).sum() / matrix.sum() > 0.8
    for c in (0, 2, 5, 10, 13, 18):
        assert matrix[c].argmax() == c


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_runs_in_eval_mode_and_restores_every_modules_own(training):
    network = ByColour().train(training)
    network.dropout.eval()  # as an EMA teacher has it: not every module in its parent's mode
    before = [module.training for module in network.modules()]
    evaluate(network, [(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8).long())])
    assert network.modes == [False]
    assert [module.training for module in network.modules()] == before


def test_evaluating_an_ema_teacher_leaves_its_batchnorm_in_training_mode():
    teacher = EMATeacher(ByColour(), 0.99)
    teacher.train()
    evaluate(teacher.network, [(torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8).long())])
    assert teacher.network.norm.training
    assert not teacher.network.dropout.training


def test_evaluation_leaves_no_trace_in_the_network():
    network = ByColour().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    evaluate(network, [(torch.randn(1, 3, 8, 8).abs(), torch.zeros(1, 8, 8).long())])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("convention", ["all19", "ignored16", "camvid11"])
def test_images_without_a_labelled_pixel_have_no_miou_not_0(convention):
    scored = scores(np.zeros((19, 19), np.int64), CITYSCAPES, convention)
    assert np.isnan(scored.miou)
