"""Blocks of an encoder, their layers, rates and freezing: the same rule for every library's."""

import copy

import pytest
import timm
import torch
from timm.optim._param_groups import param_groups_layer_decay

from methods.networks import mmseg_model, zoo
from methods.networks.blocks import blocks, layers
from methods.networks.encoder_rates import with_encoder_rates
from methods.networks.encoders.resnet import CaffeResNet
from methods.networks.freezing import freeze, hold_statistics
from methods.networks.heads.dlv2 import DLV2Head
from methods.networks.segmentor import EncoderDecoder
from methods.parts.ema import EMATeacher

COUNTS = {
    "timm:vit_small_patch14_dinov2": 12,
    "timm:eva02_tiny_patch14_224": 12,
    "timm:vit_base_patch16_siglip_224": 12,
    "timm:convnext_tiny": 18,
    "timm:swin_tiny_patch4_window7_224": 12,
    "timm:pvt_v2_b0": 8,
    "timm:resnet50": 16,
    "timm:tf_efficientnet_lite0": 16,
    "daformer_mitb5": 52,
    "deeplabv2_r101": 33,
}


@pytest.mark.parametrize("name", COUNTS)
def test_how_many_blocks_an_encoder_has(name):
    with torch.device("meta"):
        encoder = zoo.build(name).encoder
    assert len(blocks(encoder)) == COUNTS[name]
    numbers = layers(encoder)
    assert set(numbers.values()) == set(range(COUNTS[name] + 1))
    assert next(iter(numbers.values())) == 0


def test_blocks_of_mmsegmentation():
    backbone = {
        "type": "MixVisionTransformer", "embed_dims": 8, "num_layers": [1, 2, 1, 1],
        "num_heads": [1, 2, 3, 4],
    }  # fmt: skip
    head = {"type": "SegformerHead", "in_channels": [8, 16, 24, 32], "channels": 8}
    head |= {"in_index": [0, 1, 2, 3], "norm_cfg": {"type": "BN"}}
    model = {"backbone": backbone, "decode_head": head}
    encoder = mmseg_model.build("mmseg:x", model, 19).encoder
    assert {type(block).__name__ for block in blocks(encoder)} == {"TransformerEncoderLayer"}
    assert len(blocks(encoder)) == 5


def test_rates_of_a_plain_vit_are_those_of_timm():
    small = {"depth": 3, "embed_dim": 24, "num_heads": 2}
    network = zoo.build("timm:vit_base_patch14_dinov2:linear", **small)
    theirs = timm.create_model("vit_base_patch14_dinov2", num_classes=19, **small)
    names = {id(p): name for name, p in theirs.named_parameters()}
    expected = {
        names[id(p)]: group["lr_scale"]
        for group in param_groups_layer_decay(theirs, layer_decay=0.9)
        for p in group["params"]
    }
    groups = [
        {"params": list(network.encoder.parameters()), "lr": 1.0, "weight_decay": 0.1},
        {"params": list(network.head.parameters()), "lr": 10.0, "weight_decay": 0.0},
    ]
    trunk = {id(p): name for name, p in network.encoder.trunk.named_parameters()}
    rates = {}
    for group in with_encoder_rates(groups, network, 0.5, 0.9):
        for parameter in group["params"]:
            if id(parameter) in trunk:
                assert group["weight_decay"] == 0.1
                rates[trunk[id(parameter)]] = group["lr"] / 0.5
            else:
                assert (group["lr"], group["weight_decay"]) == (10.0, 0.0)
    assert rates == pytest.approx({name: expected[name] for name in trunk.values()})
    assert rates["blocks.2.mlp.fc1.weight"] == pytest.approx(0.9)
    assert rates["pos_embed"] == pytest.approx(0.9**4)


def test_rates_at_their_defaults_leave_the_groups_alone():
    groups = [{"params": [], "lr": 1.0}]
    assert with_encoder_rates(groups, zoo.build("test_mit"), 1.0, 1.0) is groups


@pytest.mark.parametrize(("first", "learning"), [(1, [2, 3, 4]), (4, []), ("all", [])])
def test_frozen_blocks(first, learning):
    network = zoo.build("test_deeplab")
    freeze(network, first)
    order = blocks(network.encoder)
    assert len(order) == 4
    learns = [i for i, b in enumerate(order, 1) if all(p.requires_grad for p in b.parameters())]
    assert learns == learning
    assert not network.encoder.conv1[0].weight.requires_grad
    assert all(p.requires_grad for p in network.head.parameters())
    teacher = EMATeacher(network, 0.9)
    before = copy.deepcopy(network.state_dict())
    network.train()(torch.randn(2, 3, 32, 32)).logits.square().sum().backward()
    teacher.train()(torch.randn(2, 3, 32, 32))
    last = len(order) if first == "all" else first
    for trained in (network, teacher.network):
        moved = {k for k, v in trained.state_dict().items() if not torch.equal(v, before[k])}
        stages = {int(key.split("layer")[1][0]) for key in moved if "layer" in key}
        assert stages == set(range(last + 1, 5))
        assert not [key for key in moved if "encoder.bn1" in key]


def test_more_blocks_than_there_are_are_refused():
    with pytest.raises(ValueError, match="freeze_encoder=5: the encoder of test_deeplab has 4 bl"):
        freeze(zoo.build("test_deeplab"), 5)


def test_what_never_learns_by_design_goes_on_outside_the_frozen_blocks():
    encoder = CaffeResNet((1, 1, 1, 1), channels=(8, 8, 16, 16))
    network = EncoderDecoder("caffe", encoder, DLV2Head(encoder.channels, 19))
    freeze(network, 1)
    network.train()
    modes = [
        {m.training for m in block.modules() if isinstance(m, torch.nn.BatchNorm2d)}
        for block in blocks(encoder)
    ]
    assert modes == [{False}, {True}, {True}, {True}]


@pytest.mark.parametrize("held", [True, False])
def test_batch_norms_of_an_encoder_keep_their_statistics_while_all_of_it_learns(held):
    network = zoo.build("test_deeplab")
    if held:
        assert hold_statistics(network)
    teacher = EMATeacher(network, 0.9)
    before = copy.deepcopy(network.state_dict())
    network.train()(torch.randn(2, 3, 32, 32)).logits.square().sum().backward()
    teacher.train()(torch.randn(2, 3, 32, 32))
    assert all(p.grad is not None for p in network.encoder.parameters())
    for trained in (network, teacher.network):
        moved = {k for k, v in trained.state_dict().items() if not torch.equal(v, before[k])}
        assert bool(moved) != held
    with torch.device("meta"):
        assert not hold_statistics(zoo.build("daformer_mitb0"))
