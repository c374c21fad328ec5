"""Masked image consistency: the blocks, the term by hand, and what it shares with mixing."""

from __future__ import annotations

from math import log

import pytest
import torch
from toy_student import Toy, blocky_batch, generator, terms

from methods import registry
from methods.contract import Batch
from methods.daformer import DAFormer
from methods.mic import MIC, half_source, shown
from methods.networks.zoo import build
from methods.parts.pseudo_labels import PseudoLabel


@pytest.fixture
def batch() -> Batch:
    return blocky_batch()


def test_blocks_are_those_of_the_grid_and_each_image_has_its_own():
    masks = shown(torch.zeros(2, 3, 12, 20), 0.5, 4, generator())
    cells = torch.rand(2, 1, 3, 5, generator=generator()) >= 0.5
    expected = cells.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(masks, expected.float())
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((8, 24), [8], [8, 8, 8]),  # exact
        ((11, 21), [11], [7, 7, 7]),  # 11/8 -> 1 block, 21/8 -> 3 blocks
        ((13, 7), [7, 6], [7]),  # 13/8 -> 2 blocks of unequal size
        ((3, 2), [3], [2]),  # smaller than half a block: one block all the same
    ],
)
def test_the_grid_is_rounded_and_resized_to_nearest_neighbours(size, rows, columns):
    grid = torch.rand(1, 1, len(rows), len(columns), generator=generator(4)) >= 0.5
    mask = shown(torch.zeros(1, 3, *size), 0.5, 8, generator(4))
    expected = grid.repeat_interleave(torch.tensor(rows), 2)
    expected = expected.repeat_interleave(torch.tensor(columns), 3)
    assert torch.equal(mask, expected.float())


def test_the_ratio_is_the_share_of_hidden_blocks():
    image = torch.zeros(4, 3, 100, 100)
    assert shown(image, 0.7, 1, generator()).mean().item() == pytest.approx(0.3, abs=0.01)
    assert shown(image, 0.0, 8, generator()).min() == 1
    assert shown(image, 1.0, 8, generator()).max() == 0


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_the_term_by_hand(ratio):
    """Where a pixel of 1 is shown the student gives its class 3/4, where it is hidden 1/2."""
    config = MIC.Config(
        mask_ratio=ratio, mask_block=4, lambda_mask=0.5, pseudo_threshold=0.7, ignore_top=4,
        ignore_bottom=0, jitter_probability=0, blur_probability=0, lambda_fd=0,
    )  # fmt: skip
    method = MIC(config, Toy(log(3)), generator=generator(5))
    image, label = torch.ones(2, 3, 16, 16), torch.zeros(2, 16, 16, dtype=torch.int64)
    batch = Batch(image, label, image)
    term = terms(method, batch)["masked"].item()

    draws = generator(5)
    method.generator.manual_seed(5)
    method.mix(batch, method.label_target(batch))
    draws.set_state(method.generator.get_state())  # masks are drawn after the mixing's own
    torch.rand(2, generator=draws)  # whether to jitter and to blur
    visible = shown(image, ratio, 4, draws)[:, 0, 4:]  # the ignored rows have weight 0
    loss = torch.where(visible == 1, -log(3 / 4), -log(1 / 2)).sum() / label.numel()
    assert term == pytest.approx(0.5 * loss.item(), rel=1e-5)


def test_hidden_blocks_are_zero_and_the_rest_is_the_target(batch):
    config = MIC.Config(mask_block=8, jitter_probability=0, blur_probability=0)
    method = MIC(config, build("test_mit"), generator=generator(6))
    masked = method.masked(batch.target_image)
    draws = generator(6)
    torch.rand(2, generator=draws)
    assert torch.equal(masked, batch.target_image * shown(masked, 0.7, 8, draws))
    assert 0.4 < (masked == 0).float().mean() < 0.95


def test_masked_images_are_augmented(batch):
    config = MIC.Config(mask_ratio=0, jitter_probability=1, blur_probability=0)
    masked = MIC(config, build("test_mit")).masked(batch.target_image)
    assert not torch.allclose(masked, batch.target_image, atol=0.05)


@pytest.mark.parametrize("name", ["mic", "dualkd+mic"])
def test_the_target_is_labelled_once_a_step(name, batch):
    kind = registry.load(name)
    teachers = [build("test_deeplab")] if kind.frozen_teachers(kind.Config(), "test_mit") else []
    method = kind(kind.Config(mask_block=8), build("test_mit"), teachers).train()
    seen = []
    method.ema.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert {"mixed", "masked"} <= terms(method, batch).keys()
    assert len(seen) == 1
    assert torch.equal(seen[0], batch.target_image)


def test_it_leaves_the_rest_of_the_step_as_daformer_has_it(batch):
    """Its draws and its forward come last."""
    steps = []
    for kind in (DAFormer, MIC):
        torch.manual_seed(0)
        config = kind.Config(pseudo_threshold=0, ignore_top=0, ignore_bottom=0)
        method = kind(config, build("test_mit"), generator=generator(7)).train()
        torch.manual_seed(1)  # dropout
        steps.append({k: v.item() for k, v in terms(method, batch).items()})
    assert steps[1].pop("masked") > 0
    assert steps[0] == steps[1]


def test_nothing_is_masked_before_mixing_starts(batch):
    method = MIC(MIC.Config(mix_start=0.5), build("test_mit"), iterations=4).train()
    assert "masked" not in terms(method, batch, 1)
    assert "masked" in terms(method, batch, 2)


def test_half_of_the_masked_images_may_be_the_sources(batch, monkeypatch):
    """MIC's `separate`: the first image of each domain, neither augmented."""
    config = MIC.Config(
        mask_source=True, mask_augment=False, mask_ratio=0, jitter_probability=1,
        pseudo_threshold=0, ignore_top=4, ignore_bottom=0, lambda_fd=0,
    )  # fmt: skip
    method = MIC(config, build("test_mit"), generator=generator(5)).train()
    seen = []
    plain = MIC.segmentation_loss

    def spy(self, output, label, weight=None):
        seen.append((label, weight))
        return plain(self, output, label, weight)

    monkeypatch.setattr(MIC, "segmentation_loss", spy)
    images = []
    method.student.register_forward_pre_hook(lambda module, inputs: images.append(inputs[0]))
    assert "masked" in terms(method, batch)
    pseudo = method.label_target(batch)
    assert torch.equal(images[-1], torch.stack([batch.source_image[0], batch.target_image[0]]))
    label, weight = seen[-1]
    assert torch.equal(label, torch.stack([batch.source_label[0], pseudo.label[0]]))
    assert weight[0].min() == 1
    assert weight[1, :4].max() == 0
    assert torch.equal(weight[1], pseudo.weight[0])


@pytest.mark.parametrize(("size", "of_source"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_the_target_has_the_odd_image(size, of_source):
    source, target = torch.zeros(size, 3, 4, 4), torch.ones(size, 3, 4, 4)
    label = torch.zeros(size, 4, 4, dtype=torch.int64)
    pseudo = PseudoLabel(label + 1, label + 0.25)
    image, label, weight = half_source(Batch(source, label, target), pseudo)
    of_target = size - of_source
    assert image[:, 0, 0, 0].tolist() == [0] * of_source + [1] * of_target
    assert label[:, 0, 0].tolist() == [0] * of_source + [1] * of_target
    assert weight[:, 0, 0].tolist() == [1] * of_source + [0.25] * of_target
