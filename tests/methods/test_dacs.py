"""DACS is DAFormer's loop but for what it says."""

from __future__ import annotations

import torch

from methods.contract import Batch
from methods.dacs import DACS
from methods.daformer import DAFormer
from methods.networks.zoo import build


def test_it_differs_in_these_knobs_only():
    ours, theirs = DACS.Config().model_dump(), DAFormer.Config().model_dump()
    assert ours.keys() == theirs.keys()
    assert {k: v for k, v in ours.items() if v != theirs[k]} == {
        "ema_alpha": 0.99,
        "ignore_top": 0,
        "ignore_bottom": 0,
        "mix_whole_batch": False,
        "lambda_fd": 0.0,
    }


def test_with_equal_knobs_it_is_daformer():
    source, target = torch.randn(2, 2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    label = torch.randint(0, 4, (2, 32, 64), generator=torch.Generator().manual_seed(2))
    found = []
    for kind in (DACS, DAFormer):
        torch.manual_seed(0)
        config = kind.Config(**DACS.Config().model_dump())
        method = kind(config, build("test_mit"), generator=torch.Generator().manual_seed(3)).train()
        groups = method.losses(Batch(source, label, target), 5)
        found.append([{name: value.item() for name, value in group.items()} for group in groups])
        assert method.imagenet is None
        assert method.ema.alpha == 0.99
    assert found[0] == found[1]
    assert [group.keys() for group in found[0]] == [{"source"}, {"mixed", "log/pseudo_weight"}]
