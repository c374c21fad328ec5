"""The parts of a method by hand-computed cases."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from toy_student import terms

from methods import registry
from methods.contract import IGNORE, Segmentation
from methods.networks.zoo import build
from methods.param_groups import reference_groups
from methods.parts.augment import gaussian_blur, strong_augment
from methods.parts.class_mix import class_mask, draw_classes, paste, values_present
from methods.parts.device import constant
from methods.parts.distillation import Projections, distill, stage_channels, stage_maps
from methods.parts.ema import EMATeacher, Frozen
from methods.parts.feature_distance import downscale_label, feature_distance, label_cells
from methods.parts.losses import cross_entropy
from methods.parts.pseudo_labels import pseudo_labels
from methods.testing.tools import ITERATIONS, Subject


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


class Scalar(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


def test_ema_copies_then_averages():
    student, teacher = Scalar(8.0), EMATeacher(Scalar(-100.0), alpha=0.75)
    averages = []
    for step, value in enumerate((8.0, 4.0, 1.0, 2.0, 6.0)):
        student.value.data.fill_(value)
        teacher.update(student, step)
        averages.append(teacher.network.value.item())
    # alpha_t: 0, 1/2, 2/3, 3/4, then the cap of 3/4
    assert averages == pytest.approx([8, 6, 13 / 3, 3.75, 4.3125])


def test_ema_teacher_runs_on_batch_statistics_without_dropout():
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.9))
    teacher = EMATeacher(network, alpha=0.9)
    for mode in (True, False, True):
        nn.ModuleList([teacher]).train(mode)
        batch_norm, dropout = teacher.network
        assert (batch_norm.training, dropout.training) == (mode, False)
    image = torch.rand(2, 2, 4, 4) * 3 + 5
    assert teacher(image).mean().abs() < 1e-5


def test_frozen_network_stays_in_eval_mode_and_learns_nothing():
    frozen = Frozen(nn.Sequential(nn.BatchNorm2d(2)))
    nn.ModuleList([frozen]).train()
    before = frozen.network[0].running_mean.clone()
    assert not frozen(torch.rand(2, 2, 4, 4)).requires_grad
    assert torch.equal(frozen.network[0].running_mean, before)
    assert not any(p.requires_grad for p in frozen.parameters())


LABELS = torch.tensor([[[0, 0, 3], [5, 5, 5]], [[7, 7, 7], [7, IGNORE, 5]]])  # (2, 2, 3)


@pytest.mark.parametrize(
    ("whole_batch", "ignore", "values"),
    [
        (True, True, [{0, 3, 5, 7, IGNORE}] * 2),
        (True, False, [{0, 3, 5, 7}] * 2),
        (False, True, [{0, 3, 5}, {5, 7, IGNORE}]),
        (False, False, [{0, 3, 5}, {5, 7}]),
    ],
)
def test_class_mix_draws_half_of_the_values_rounded_up(generator, whole_batch, ignore, values):
    seen = [set(), set()]
    for _ in range(60):
        drawn = draw_classes(
            values_present(LABELS), generator, whole_batch=whole_batch, ignore=ignore
        )
        for classes, union, present in zip(drawn, seen, values, strict=True):
            assert len(set(classes.tolist())) == len(classes) == math.ceil(len(present) / 2)
            union.update(classes.tolist())
    assert seen == values


def test_class_mix_knows_the_values_of_each_image():
    present = values_present(LABELS)
    assert present.shape == (2, 256)
    assert [row.nonzero()[:, 0].tolist() for row in present] == [[0, 3, 5], [5, 7, IGNORE]]


def test_class_mix_draws_as_it_did_from_sorted_values(generator):
    """Figures of old records hang on these draws."""
    order = torch.randperm(5, generator=torch.Generator().manual_seed(3))
    values = LABELS.unique()[order[:3]]
    assert torch.equal(draw_classes(values_present(LABELS), generator)[0], values)


def test_a_constant_is_sent_once():
    cpu = torch.device("cpu")
    assert constant((1.0, 2.0), cpu) is constant((1.0, 2.0), cpu)
    assert constant((1, 2), cpu, torch.int64).dtype is torch.int64


def test_class_mix_pastes_the_drawn_classes():
    mask = class_mask(LABELS, [torch.tensor([5, 7]), torch.tensor([IGNORE])])
    assert mask.int().tolist() == [[[0, 0, 0], [1, 1, 1]], [[0, 0, 0], [0, 1, 0]]]
    mixed = paste(mask, LABELS, torch.full_like(LABELS, 9))
    assert mixed.tolist() == [[[9, 9, 9], [5, 5, 5]], [[9, 9, 9], [9, IGNORE, 9]]]
    source = torch.arange(36.0).view(2, 3, 2, 3)
    image = paste(mask, source, -torch.ones(2, 3, 2, 3))
    assert torch.equal(image[0, :, 1], source[0, :, 1])
    assert (image[0, :, 0] == -1).all()


def test_pseudo_label_weight_is_the_confident_share_of_the_whole_batch():
    confident, unsure = [4.0, 0.0], [0.0, 0.1]  # largest probabilities 0.982 and 0.525
    rows = [[confident, confident, unsure, unsure], [confident, unsure, unsure, unsure]]
    logits = torch.tensor(rows).permute(0, 2, 1)[..., None]  # (2, 2, 4, 1)
    pseudo = pseudo_labels(logits, (4, 1), 0.968, ignore_top=1, ignore_bottom=2)
    assert pseudo.label[..., 0].tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]
    # 3 of 8 pixels, one of them in an ignored row.
    assert pseudo.weight[..., 0].tolist() == [[0, 3 / 8, 0, 0]] * 2
    assert (pseudo_labels(logits, (4, 1), 0.968).weight == 3 / 8).all()


def test_cross_entropy_counts_ignored_pixels_in_its_mean():
    logits = torch.zeros(1, 4, 2, 2)  # every pixel costs log 4
    label = torch.tensor([[[0, IGNORE], [1, 2]]])
    assert cross_entropy(logits, label).item() == pytest.approx(math.log(4) * 3 / 4)
    weight = torch.tensor([[[0.5, 1.0], [0.0, 1.0]]])
    weighted = cross_entropy(logits, label, weight)
    assert weighted.item() == pytest.approx(math.log(4) * 1.5 / 4)
    assert cross_entropy(logits, label, weight, stride=2).item() == pytest.approx(math.log(4) / 2)


def test_no_augmentation_leaves_the_image_alone(generator):
    images = torch.randn(2, 3, 20, 30)
    assert torch.equal(strong_augment(images, generator, 0, 0), images)


def test_augmentation_follows_its_generator_only():
    images = torch.randn(2, 3, 20, 30)
    first, second, other = (
        strong_augment(images, torch.Generator().manual_seed(seed), 1, 1) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    assert first.shape == images.shape


def test_blur_keeps_a_flat_image_and_spreads_a_point_symmetrically():
    assert torch.allclose(gaussian_blur(torch.full((3, 40, 70), 0.7), 1.0), torch.tensor(0.7))
    point = torch.zeros(1, 61, 61)
    point[0, 30, 30] = 1
    blurred = gaussian_blur(point, 1.15)[0]
    assert blurred.sum().item() == pytest.approx(1)
    assert blurred[30, 31] / blurred[30, 30] == pytest.approx(math.exp(-1 / (2 * 1.15**2)))
    assert torch.allclose(blurred, blurred.T)


def test_labels_scale_down_to_the_majority():
    label = torch.tensor([[[1, 1, 2, 2], [1, 4, 4, 4], [IGNORE] * 4, [IGNORE] * 4]])
    assert downscale_label(label, 2, 19, 0.75).tolist() == [[[1, IGNORE], [IGNORE, IGNORE]]]
    assert downscale_label(label, 2, 19, 0.5).tolist() == [[[1, 2], [IGNORE, IGNORE]]]


def test_a_cell_is_counted_pixel_by_pixel(generator):
    """Of sides that the stride does not divide, the rest is left out."""
    label = torch.randint(0, 4, (2, 14, 23), generator=generator)
    label[label == 3] = IGNORE
    cells = downscale_label(label, 5, 4, 0.4)
    assert cells.shape == (2, 2, 4)
    for image, row, column in product(range(2), range(2), range(4)):
        pixels = label[image, 5 * row : 5 * row + 5, 5 * column : 5 * column + 5].flatten().tolist()
        most = min(set(pixels), key=lambda value: (-pixels.count(value), value))
        expected = most if pixels.count(most) / 25 >= 0.4 else IGNORE
        assert cells[image, row, column] == expected


def test_label_cells_fit_the_features_of_any_crop():
    label = torch.full((1, 75, 109), 13)
    assert label_cells(label, (3, 4), 19).tolist() == [[[13] * 4] * 3]


def test_feature_distance_is_the_mean_norm_over_kept_cells():
    features = torch.tensor([[3.0, 0.0], [4.0, 1.0]]).view(1, 2, 1, 2).requires_grad_()
    reference = torch.zeros(1, 2, 1, 2)
    assert feature_distance(features, reference).item() == pytest.approx(3)
    mask = torch.tensor([[[True, False]]])
    assert feature_distance(features, reference, mask).item() == pytest.approx(5)
    same = feature_distance(features, features.detach(), mask)
    same.backward()
    assert same == 0
    assert torch.equal(features.grad, torch.zeros_like(features))


#: Two pixels of two channels: (3, 4) against (0, 5), (1, 0) against (1, 0).
STUDENT = torch.tensor([[3.0, 1.0], [4.0, 0.0]]).view(1, 2, 1, 2)
TEACHER = torch.tensor([[0.0, 1.0], [5.0, 0.0]]).view(1, 2, 1, 2)


def kl(student: tuple[float, float], teacher: tuple[float, float]) -> float:
    """KL(teacher || student) of two softmaxes over two channels: of two sigmoids."""
    s, t = (1 / (1 + math.exp(b - a)) for a, b in (student, teacher))
    return t * math.log(t / s) + (1 - t) * math.log((1 - t) / (1 - s))


@pytest.mark.parametrize(
    ("distance", "normalise", "first_pixel"),
    [
        ("l2", False, math.sqrt(9 + 1)),
        ("l2", True, math.sqrt(0.6**2 + 0.2**2)),
        ("mse", False, (9 + 1) / 2),
        ("mse", True, (0.36 + 0.04) / 2),
        ("cosine", False, 1 - 0.8),
        ("cosine", True, 1 - 0.8),
        ("kl", False, kl((3, 4), (0, 5))),
        ("kl", True, kl((0.6, 0.8), (0, 1))),
    ],
)
def test_distances_of_distillation(distance, normalise, first_pixel):
    mean = distill(STUDENT, TEACHER, distance, normalise)
    assert mean.item() == pytest.approx(first_pixel / 2, rel=1e-4, abs=1e-6)
    mask = torch.tensor([[[True, False]]])
    kept = distill(STUDENT, TEACHER, distance, normalise, mask)
    assert kept.item() == pytest.approx(first_pixel, rel=1e-4, abs=1e-6)
    assert distill(STUDENT, TEACHER, distance, normalise, ~mask & mask) == 0


def test_a_teacher_of_another_stride_is_resized_to_the_student():
    student, teacher = torch.zeros(1, 1, 2, 2), torch.tensor([[1.0, 3.0]]).view(1, 1, 1, 2)
    assert distill(student, teacher, "l2", False).item() == pytest.approx(2)
    finer = torch.arange(16.0).view(1, 1, 4, 4)  # bilinear at half the size: means of 2 x 2
    expected = torch.nn.functional.avg_pool2d(finer, 2).mean()
    assert distill(student, finer, "l2", False).item() == pytest.approx(expected.item())


def test_projections_are_identities_where_widths_match():
    auto, conv = (Projections((8, 16), (8, 24), kind) for kind in ("auto", "conv"))
    assert [type(p) for p in auto] == [nn.Identity, nn.Conv2d]
    assert [type(p) for p in conv] == [nn.Conv2d, nn.Conv2d]
    maps = [torch.rand(1, 8, 4, 4), torch.rand(1, 16, 2, 2)]
    same, wider = auto(maps)
    assert same is maps[0]
    assert wider.shape == (1, 24, 2, 2)


def test_stages_count_from_one():
    features = [torch.rand(1, c, 2, 2) for c in (1, 2, 3, 4)]
    output = Segmentation(torch.rand(1, 19, 2, 2), features, torch.rand(1, 9, 2, 2))
    assert [m.shape[1] for m in stage_maps(output, ("1", "4", "fused"))] == [1, 4, 9]
    assert stage_channels(build("test_mit"), ("1", "4", "fused")) == [8, 32, 16]


def test_parameter_groups_go_by_name():
    network = nn.ModuleDict(
        {
            "encoder": nn.ModuleDict({"fc": nn.Linear(1, 1), "norm1": nn.LayerNorm(1)}),
            "head": nn.ModuleDict({"norm": nn.LayerNorm(1)}),
            "frozen": nn.Linear(1, 1).requires_grad_(False),
        }
    )
    groups = reference_groups(network, lr=1, weight_decay=0.5, head_lr_factor=10)
    assert [(len(g["params"]), g["lr"], g["weight_decay"]) for g in groups] == [
        (2, 1, 0.5),
        (2, 1, 0.0),
        (2, 10, 0.5),
    ]
    assert all(a is not b for a, b in pairwise(p for g in groups for p in g["params"]))


def test_the_ema_teacher_moves_once_a_step_however_many_batches_it_has():
    student = build("test_mit")
    teacher = EMATeacher(student, 0.5)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    teacher.update(student, 3)
    once = [p.clone() for p in teacher.network.parameters()]
    teacher.update(student, 3)
    assert all(torch.equal(a, b) for a, b in zip(once, teacher.network.parameters(), strict=True))
    teacher.update(student, 4)
    assert not torch.equal(once[0], next(teacher.network.parameters()))


@pytest.mark.parametrize("name", ["daformer", "dualkd", "duda"])
def test_until_mixing_starts_the_ema_teacher_has_the_norms_of_whom_it_follows(name):
    method = Subject(registry.load(name), knobs={"mix_start": 0.5}).make().train()
    followed = method.large if name == "duda" else method.student
    subject = Subject(registry.load(name))

    def norms(network: torch.nn.Module) -> list[torch.Tensor]:
        return [buffer.clone() for buffer in network.buffers()]

    for step in range(ITERATIONS // 2):
        before = norms(followed)
        terms(method, subject.batch(step), step)
        assert all(map(torch.equal, norms(method.ema_teacher), before))
    assert not all(map(torch.equal, norms(followed), before))
    before = norms(method.ema_teacher)
    method.update_teacher(ITERATIONS // 2)
    assert all(map(torch.equal, norms(method.ema_teacher), before)), "its own from now on"
