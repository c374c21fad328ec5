"""HRDA: fusion and loss by hand, windows, what is saved, and other methods on top."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from toy_student import blocky_batch, generator

from methods import registry
from methods.contract import Batch, Segmentation
from methods.hrda import HRDA, draw_window
from methods.networks.multi_scale import Detailed, MultiScale, fuse, half, paste, slide, window_side
from methods.networks.weights import load_weights, save_weights
from methods.networks.zoo import build, describe, one_size_up
from methods.parts.feature_distance import class_mask, feature_distance, label_cells
from methods.parts.losses import cross_entropy

WINDOW = (slice(8, 24), slice(24, 56))


@pytest.fixture
def batch() -> Batch:
    return blocky_batch()


def two_scales(network: str = "test_mit", attention: float | None = None) -> MultiScale:
    """In eval mode; `attention` sets its logit everywhere."""
    torch.manual_seed(0)
    student = MultiScale(build(network)).eval()
    if attention is not None:
        nn.init.zeros_(student.attention_head.linear_pred.weight)
        nn.init.constant_(student.attention_head.linear_pred.bias, attention)
    return student


def hrda(**knobs: object) -> HRDA:
    torch.manual_seed(0)
    return HRDA(HRDA.Config(**knobs), build("test_mit"), generator=generator(3))


def doubled(logits: Tensor) -> Tensor:
    return nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")


def test_fusion_by_hand():
    """One row of two cells, enlarged to four: weights 3/4 and 1/4 beside the edge between cells."""
    context = torch.tensor([4.0, 8.0]).view(1, 1, 1, 2)
    attention = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    detail = torch.tensor([[10.0, 20.0, 30.0, 40.0]] * 2).view(1, 1, 2, 4)
    # (1 - a) * context = 0, 4 -> 0, 1, 3, 4; a -> 1, 0.875, 0.625, 0.5
    expected = [10.0, 1 + 0.875 * 20, 3 + 0.625 * 30, 4 + 0.5 * 40]
    for row in fuse(context, detail, attention)[0, 0]:
        assert row.tolist() == pytest.approx(expected)


def test_each_class_has_its_own_attention():
    context, detail = torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 2, 2)
    attention = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    assert fuse(context, detail, attention)[0, :, 0, 0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("window", [None, WINDOW])
def test_without_attention_there_is_context_only(window, batch):
    student = two_scales(attention=-100)
    with torch.no_grad():
        output = student(batch.source_image, window)
        context = student.network(half(batch.source_image))
    assert torch.allclose(output.logits, doubled(context.logits), atol=1e-6)
    assert torch.equal(output.fused, context.fused)
    assert all(map(torch.equal, output.features, context.features))
    assert all(map(torch.equal, student.features(batch.source_image), context.features))


def test_with_full_attention_there_is_detail_inside_the_window_and_context_outside(batch):
    student = two_scales(attention=100)
    with torch.no_grad():
        output = student(batch.source_image, WINDOW)
        context = doubled(student.network(half(batch.source_image)).logits)
        detail = student.network(batch.source_image[..., WINDOW[0], WINDOW[1]]).logits
    assert output.logits.shape == (2, 19, 8, 16)
    # At stride 4; a cell at either side of the edge sees both.
    assert torch.allclose(output.logits[..., 3:5, 7:13], detail[..., 1:-1, 1:-1], atol=1e-6)
    outside = torch.ones(8, 16, dtype=torch.bool)
    outside[1:7, 5:15] = False
    assert torch.allclose(output.logits[..., outside], context[..., outside], atol=1e-6)
    assert output.detail.window == WINDOW
    assert torch.allclose(output.detail.logits, detail, atol=1e-6)


def test_with_full_attention_and_no_window_it_is_the_mean_of_those_that_slide(batch):
    student = two_scales(attention=100)
    total, count = torch.zeros(2, 19, 8, 16), torch.zeros(8, 16)
    with torch.no_grad():
        for top in (0, 8, 16):
            for left in (0, 16, 32):
                part = batch.source_image[..., top : top + 16, left : left + 32]
                there = (..., slice(top // 4, top // 4 + 4), slice(left // 4, left // 4 + 8))
                total[there] += student.network(part).logits
                count[there] += 1
        output = student(batch.source_image)
    assert torch.allclose(output.logits, total / count, atol=1e-5)
    assert type(output) is Segmentation


@pytest.mark.parametrize("cell", [8, 16])
@pytest.mark.parametrize("size", [(96, 192), (1024, 1024), (33, 70), (144, 8), (40, 5)])
def test_the_slide_covers_every_pixel_in_whole_cells(size, cell):
    covered = torch.zeros(size, dtype=torch.bool)
    for window in slide(size, cell):
        covered[window] = True
        for side, length in zip(window, size, strict=True):
            assert side.start % cell == side.stop % cell == 0
            assert 0 <= side.start < side.stop <= -(-length // cell) * cell
    assert covered.all()


def test_of_a_large_crop_they_are_the_papers():
    starts = {(rows.start, columns.start) for rows, columns in slide((1024, 1024), 8)}
    assert starts == {(top, left) for top in (0, 256, 512) for left in (0, 256, 512)}
    assert window_side(1024, 8) == 512


@pytest.mark.parametrize(("size", "cell"), [((32, 64), 8), ((96, 192), 16), ((33, 70), 8)])
def test_drawn_windows_lie_inside_on_whole_cells_and_reach_every_place(size, cell):
    draws = generator()
    windows = [draw_window(size, cell, draws) for _ in range(300)]
    for axis, length in enumerate(size):
        sides = {(window[axis].start, window[axis].stop) for window in windows}
        side = window_side(length, cell)
        assert sides == {(s, s + side) for s in range(0, length - side + 1, cell)}


def test_where_no_window_is_there_is_nothing():
    parts = torch.ones(2, 1, 1, 2, 2) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)
    windows = [(slice(0, 2), slice(0, 2)), (slice(0, 2), slice(1, 3))]
    mean, count = paste(parts, windows, (3, 4))
    assert mean[0, 0].tolist() == [[1, 2, 3, 0], [1, 2, 3, 0], [0, 0, 0, 0]]
    assert count.tolist() == [[1, 2, 1, 0], [1, 2, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("lambda_d", [0.0, 0.1, 1.0])
def test_the_loss_by_its_parts(lambda_d, weighted, batch):
    method = hrda(lambda_d=lambda_d, loss_stride=2)
    weight = torch.rand(2, 32, 64, generator=generator(4)) if weighted else None
    output = method.student(batch.source_image, WINDOW)
    loss = method.segmentation_loss(output, batch.source_label, weight)
    inside = (slice(None), *WINDOW)
    fused = cross_entropy(output.logits, batch.source_label, weight, 2)
    closer = None if weight is None else weight[inside]
    detail = cross_entropy(output.detail.logits, batch.source_label[inside], closer, 2)
    assert fused.item() != pytest.approx(detail.item(), rel=1e-3)
    expected = (1 - lambda_d) * fused + lambda_d * detail
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_loss_teaches_attention_network_and_both_scales(batch):
    method = hrda(lambda_d=0).train()
    output = method.segment(batch.source_image)
    method.segmentation_loss(output, batch.source_label).backward()
    for part in (method.student.attention_head, method.student.encoder, method.student.head):
        assert any(p.grad.abs().sum() > 0 for p in part.parameters())
    groups = method.param_groups(1e-3, 0.01, 10.0)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in method.student.attention_head.parameters()} == {1e-2}


def test_each_forward_that_learns_has_a_window_and_the_teacher_slides(batch):
    method = hrda(lambda_fd=0).train()
    seen = {"student": [], "teacher": []}
    for name, network in (("student", method.student), ("teacher", method.ema.network)):
        network.register_forward_hook(lambda m, i, output, to=seen[name]: to.append(type(output)))
    list(method.losses(batch, 0))
    assert seen == {"student": [Detailed, Detailed], "teacher": [Segmentation]}


def test_the_feature_distance_is_the_contexts(batch):
    batch.source_label.fill_(13)
    method = hrda(lambda_fd=0.5)
    source = method.segment(batch.source_image)
    nn.init.constant_(method.imagenet.network.encoder.norm4.bias, 1)
    distance = method.source_terms(batch, source, 0)["feature_distance"].item()
    reference = method.imagenet.network.network.features(half(batch.source_image))[-1]
    cells = label_cells(batch.source_label, reference.shape[-2:], 19)
    expected = feature_distance(source.features[-1], reference, class_mask(cells, ()))
    assert distance == pytest.approx(0.5 * expected.item())
    assert distance > 0


@pytest.mark.parametrize("name", ["hrda+mic", "dualkd+hrda", "dualkd+hrda+mic"])
def test_it_joins(name, batch):
    kind = registry.load(name)
    knobs = {"stages": ("4", "fused"), "images": ("target", "mixed"), "mask_block": 8}
    config = kind.Config(**{k: v for k, v in knobs.items() if k in kind.Config.model_fields})
    teachers = [build("test_deeplab") for _ in kind.frozen_teachers(config, "test_mit")]
    method = kind(config, build("test_mit"), teachers, generator=generator(5)).train()
    assert isinstance(method.student, MultiScale)
    assert isinstance(method.student.network, type(build("test_mit")))
    learning = torch.optim.AdamW(method.param_groups(1e-3, 0.01, 10.0))
    outputs = []
    method.student.register_forward_hook(lambda m, i, output: outputs.append(output))
    for step in range(2):
        terms = {}
        for group in method.losses(batch, step):
            sum(value for term, value in group.items() if term[:4] != "log/").backward()
            terms |= group
        learning.step()
        learning.zero_grad()
    assert ("masked" in terms) == ("mic" in name)
    assert ({"kd_target", "kd_mixed"} <= terms.keys()) == ("dualkd" in name)
    assert len(outputs) == 2 * (2 + ("mic" in name))  # dualkd looks at the context alone
    assert all(isinstance(output, Detailed) for output in outputs)


def test_a_frozen_teacher_sees_the_crop_and_the_student_is_taught_on_its_context(batch):
    kind = registry.load("dualkd+hrda")
    method = kind(kind.Config(images=("source",)), build("test_mit"), [build("test_deeplab")])
    seen = []
    method.frozen.network.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    output = method.segment(batch.source_image)
    method.source_terms(batch, output, 0)
    assert torch.equal(seen[0], batch.source_image)
    assert output.features[-1].shape[-2:] == (1, 1)  # of 16 x 32 pixels at stride 32


def test_its_file_is_one_of_the_network_that_the_zoo_builds_and_of_its_encoder(tmp_path, batch):
    student = two_scales()
    path = tmp_path / "student.safetensors"
    save_weights(student, path, {"network": student.name})
    assert student.name == "hrda:test_mit"
    assert student.state_dict().keys() - build("test_mit").state_dict().keys() == {
        f"attention_head.{key}" for key in student.attention_head.state_dict()
    }
    again = build(student.name).eval()
    assert load_weights(again, path) == "uda-bench weights"
    plain = build("test_mit")
    load_weights(plain, path, part="encoder")
    with pytest.raises(ValueError, match="no place for attention_head"):
        load_weights(plain, path)
    for network in (again, copy.deepcopy(student)):
        with torch.no_grad():
            logits = network(batch.source_image).logits
            assert torch.equal(logits, student(batch.source_image).logits)


def test_a_copy_has_parts_of_its_own():
    student = two_scales()
    other = copy.deepcopy(student)
    assert other.network.encoder is other.encoder is not student.encoder
    assert len(list(other.parameters())) == len({id(p) for p in other.parameters()})


def test_the_zoo_speaks_of_it_as_of_its_network():
    assert describe("hrda:mini_s").startswith(describe("mini_s"))
    assert one_size_up("hrda:mini_s") == "mini_m"
    with pytest.raises(ValueError, match="unknown network 'mini_q'"):
        describe("hrda:mini_q")


def test_images_of_any_size_give_maps_of_the_cells_they_reach():
    for network, stride in (("test_mit", 4), ("test_deeplab", 8)):
        student = two_scales(network)
        with torch.no_grad():
            output = student(torch.randn(1, 3, 33, 70, generator=generator(6)))
        assert output.logits.shape[-2:] == (-(-33 // stride), -(-70 // stride))
        assert student.size_multiple == 2 * stride
