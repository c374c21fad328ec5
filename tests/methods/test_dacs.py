"""DACS is DAFormer's loop but for what it says."""

from __future__ import annotations

from math import log

import pytest
import torch
from toy_student import Toy, terms

from methods.contract import Batch
from methods.dacs import DACS
from methods.daformer import DAFormer
from methods.networks.zoo import build


def test_it_differs_in_these_knobs_only():
    ours, theirs = DACS.Config().model_dump(), DAFormer.Config().model_dump()
    assert ours.keys() - theirs.keys() == {"source_mean_over_valid"}
    assert {k: v for k, v in ours.items() if k in theirs and v != theirs[k]} == {
        "ema_alpha": 0.99,
        "ignore_top": 0,
        "ignore_bottom": 0,
        "mix_whole_batch": False,
        "lambda_fd": 0.0,
    }


def test_with_equal_knobs_it_is_daformer():
    source, target = torch.randn(2, 2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    label = torch.randint(0, 4, (2, 32, 64), generator=torch.Generator().manual_seed(2))
    steps = []
    for kind in (DACS, DAFormer):
        torch.manual_seed(0)
        knobs = DACS.Config().model_dump(include=DAFormer.Config.model_fields.keys())
        config = kind.Config(**knobs)
        method = kind(config, build("test_mit"), generator=torch.Generator().manual_seed(3)).train()
        groups = method.losses(Batch(source, label, target), 5)
        steps.append([{name: value.item() for name, value in group.items()} for group in groups])
        assert method.imagenet is None
        assert method.ema.alpha == 0.99
    assert steps[0] == steps[1]
    assert [group.keys() for group in steps[0]] == [{"source"}, {"mixed", "log/pseudo_weight"}]


@pytest.mark.parametrize(("stride", "rows"), [(1, 7), (2, 8), (2, 7)])
@pytest.mark.parametrize("over_valid", [True, False])
def test_ignored_source_pixels_may_be_left_out_of_the_mean(stride, rows, over_valid):
    """A student of slope 0 gives both classes 1/2, so that each labelled pixel costs log 2."""
    image, label = torch.zeros(2, 3, 16, 16), torch.zeros(2, 16, 16, dtype=torch.int64)
    label[:, rows:] = 255
    config = DACS.Config(source_mean_over_valid=over_valid, loss_stride=stride, mix_start=1)
    loss = terms(DACS(config, Toy(0.0), iterations=9), Batch(image, label, image))["source"]
    labelled = 1.0 if over_valid else len(range(0, rows, stride)) / (16 / stride)
    assert loss.item() == pytest.approx(labelled * log(2))


def test_a_source_batch_without_a_label_costs_nothing():
    image, label = torch.zeros(1, 3, 8, 8), torch.full((1, 8, 8), 255)
    config = DACS.Config(source_mean_over_valid=True, mix_start=1)
    loss = terms(DACS(config, Toy(1.0), iterations=9), Batch(image, label, image))["source"]
    assert loss.item() == 0
