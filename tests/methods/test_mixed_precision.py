"""A forward without gradients before one with them takes none away: no cache of cast weights."""

from __future__ import annotations

import pytest
import torch

from harness.training.precision import autocast
from methods.networks.zoo import build


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_keeps_no_cast_weights(precision):
    student = build("test_mit")
    with autocast(torch.device("cpu"), precision):
        assert not torch.is_autocast_cache_enabled()
        with torch.no_grad():
            wanted = student(torch.ones(2, 3, 32, 64)).logits
        loss = (student(torch.zeros(2, 3, 32, 64)).logits - wanted).square().mean()
    loss.backward()
    assert all(p.grad is not None for p in student.parameters())
