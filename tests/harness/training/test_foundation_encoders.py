"""Encoders of today's foundation models, small and from random weights, learn by every method."""

from __future__ import annotations

import pytest
import torch
from test_trainer import CPU, profile
from toy_student import blocky_batch

from harness.training.trainer import Trainer
from methods.daformer import DAFormer
from methods.networks import zoo

VIT = {"depth": 4, "embed_dim": 24, "num_heads": 2}
ENCODERS = {
    "timm:vit_base_patch14_dinov2.lvd142m:daformer": VIT | {"head_channels": 8},
    "timm:eva02_base_patch14_224.mim_in22k:upsample": VIT,
    "timm:vit_base_patch16_siglip_224.v2_webli:topdown": VIT | {"head_channels": 8},
    "timm:convnext_tiny.dinov3_lvd1689m:daformer": {
        "depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32), "head_channels": 8,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
def test_some_steps(name):
    torch.manual_seed(0)
    student = zoo.build(name, **ENCODERS[name])
    config = DAFormer.Config(ignore_top=2, ignore_bottom=8)
    settings = profile(
        optimiser="adamw", lr=1e-2, encoder_lr_factor=0.1, layer_decay=0.9, precision="bf16"
    )
    method = DAFormer(config, student, iterations=settings.iterations).train()
    trainer = Trainer(method, settings, CPU)
    rates = {group["initial_lr"] for group in trainer.optimiser.param_groups}
    assert max(rates) == 1e-2
    assert min(rates) == pytest.approx(1e-3 * 0.9**5)
    before = {name: p.clone() for name, p in student.named_parameters()}
    batch = blocky_batch(64, 96)
    losses = [float(trainer.step([batch], step)["source"]) for step in range(6)]
    assert losses[-1] < losses[0]
    assert not [n for n, p in student.named_parameters() if torch.equal(p, before[n])]
