"""Heads for plain ViTs: a pyramid below a fusing head, the upsampling and the linear head."""

import pytest
import torch

from methods.networks import zoo

VIT = {"depth": 4, "embed_dim": 16, "num_heads": 2}


def build(head, **arguments):
    return zoo.build(f"timm:vit_tiny_patch16_224:{head}", **VIT, **arguments).eval()


@pytest.mark.parametrize(
    ("head", "stride", "channels"),
    [
        ("daformer", 4, 8),
        ("segformer", 4, 8),
        ("topdown", 4, 8),
        ("daformer:last", 4, 8),
        ("topdown:1-3", 4, 8),
        ("upsample", 4, 4),
        ("linear", 16, 16),
        ("linear:last", 16, 16),
        ("dlv2", 16, 16),
    ],
)
@torch.no_grad()
def test_strides_of_the_logits(head, stride, channels):
    arguments = {"head_channels": 8} if channels == 8 else {}
    network = build(head, **arguments)
    for size in ((64, 96), (40, 70)):  # the second one is padded
        logits, features, fused = network(torch.randn(2, 3, *size))
        assert logits.shape == (2, 19, *(-(-side // stride) for side in size))
        assert fused.shape == (2, channels, *logits.shape[2:])
        assert network.fused_channels == channels
        assert {x.shape[1:] for x in features} == {(16, *(-(-side // 16) for side in size))}


@torch.no_grad()
def test_every_tapped_block_reaches_its_own_level():
    head = build("topdown", head_channels=8).head
    maps = [torch.randn(1, 16, 4, 6) for _ in range(4)]
    levels = [level(x) for level, x in zip(head.pyramid, maps, strict=True)]
    assert [x.shape[1:] for x in levels] == [(4, 16, 24), (8, 8, 12), (16, 4, 6), (16, 2, 3)]
    reference = head(maps)[0]
    for index in range(4):
        changed = [x + (i == index) for i, x in enumerate(maps)]
        assert not torch.equal(head(changed)[0], reference)


@torch.no_grad()
def test_logits_of_a_padded_image_are_those_of_the_image_with_zeros():
    """Cropped as logits, not as maps of cells that the image ends within."""
    network = build("upsample")
    image = torch.randn(1, 3, 40, 72)
    padded = torch.nn.functional.pad(image, (0, 8, 0, 8))
    torch.testing.assert_close(network(image).logits, network(padded).logits[..., :10, :18])


def test_all_parameters_of_a_pyramid_learn_with_the_head():
    network = build("daformer", head_channels=8)
    network.train()(torch.randn(2, 3, 64, 64)).logits.square().sum().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None]
    assert [n for n, _ in network.named_parameters() if n.startswith("head.pyramid.")]
