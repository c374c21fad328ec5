"""Encoders of timm: their normalisation, taps, final norm and patches that divide no crop."""

import pytest
import timm
import torch

from methods.networks import zoo
from methods.networks.encoders.timm import fitting
from methods.networks.weights import load_weights
from methods.parts.augment import MEAN, STD

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

VIT = {"depth": 2, "embed_dim": 24, "num_heads": 2}
CONVNEXT = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
#: A network of each family, small; the mean and deviation that its authors give.
FAMILIES = {
    "vit_base_patch14_dinov2.lvd142m": (VIT, IMAGENET),
    "vit_base_patch14_reg4_dinov2.lvd142m": (VIT, IMAGENET),
    "vit_base_patch16_dinov3.lvd1689m": (VIT, IMAGENET),
    "convnext_tiny.dinov3_lvd1689m": (CONVNEXT, IMAGENET),
    "convnext_tiny.fb_in22k": (CONVNEXT, IMAGENET),
    "eva02_base_patch14_224.mim_in22k": (VIT, CLIP),
    "vit_base_patch16_clip_224.openai": (VIT, CLIP),
    "vit_base_patch16_siglip_224.webli": (VIT, HALF),
    "vit_base_patch16_siglip_224.v2_webli": (VIT, HALF),
    "vit_base_patch16_224.mae": (VIT, IMAGENET),
    "samvit_base_patch16.sa1b": (VIT | {"global_attn_indexes": (1,)}, IMAGENET),
    "vit_base_patch16_224.augreg2_in21k_ft_in1k": (VIT, HALF),
    "tf_efficientnet_lite0.in1k": ({}, HALF),
}


def build(model: str, head: str = "linear", **arguments):
    return zoo.build(f"timm:{model}:{head}", **arguments).eval()


@pytest.mark.parametrize("model", FAMILIES)
def test_a_network_sees_images_by_its_own_mean_and_deviation(model):
    arguments, (mean, std) = FAMILIES[model]
    own = timm.get_pretrained_cfg(model)
    assert (own.mean, own.std) == (mean, std)
    encoder = build(model, **arguments).encoder
    grey = torch.rand(1, 3, 32, 32)
    usual = [torch.tensor(values).view(3, 1, 1) / 255 for values in (MEAN, STD)]
    theirs = [torch.tensor(values).view(3, 1, 1) for values in (mean, std)]
    seen = encoder.renormalise((grey - usual[0]) / usual[1])
    torch.testing.assert_close(seen, (grey - theirs[0]) / theirs[1])


@pytest.mark.parametrize(
    ("depth", "taps", "blocks"),
    [
        (12, "", [2, 5, 8, 11]),
        (24, "", [7, 11, 15, 23]),
        (6, "", [0, 2, 3, 5]),
        (12, ":last", [11]),
        (12, ":1-4", [1, 4]),
    ],
)
def test_which_blocks_give_a_map(depth, taps, blocks):
    with torch.device("meta"):
        network = build("vit_tiny_patch16_224", f"linear{taps}", depth=depth)
    assert network.encoder.indices == blocks
    assert len(network.encoder.trunk.blocks) == blocks[-1] + 1
    assert len(network.features(torch.zeros(1, 3, 32, 32, device="meta"))) == len(blocks)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("timm:test_vit:linear:2-1", "taps '2-1': expected numbers of blocks that ascend"),
        ("timm:test_vit:linear:all", "taps 'all': expected numbers of blocks"),
        ("timm:test_vit:linear:0-6", "has 6 blocks; expected .* from 0 to 5, not 0-6"),
        ("timm:test_vit:linear:0-1-2-3-4", "one to four of them"),
        ("timm:test_convnext:linear:1-2", "has stages, and gives the map of each: name no taps"),
    ],
)
def test_taps_that_a_network_has_not_are_refused(name, reason):
    with pytest.raises(ValueError, match=reason):
        zoo.build(name)


@pytest.mark.parametrize("model", ["vit_base_patch14_dinov2", "eva02_base_patch14_224"])
@torch.no_grad()
def test_every_map_of_a_plain_vit_goes_through_its_final_norm(model):
    """Of EVA02 it is the norm behind the pooling, which timm leaves out of the maps."""
    encoder = build(model, depth=4, embed_dim=24, num_heads=2).encoder
    encoder.trunk.norm.bias.copy_(torch.arange(24.0))
    for x in encoder(torch.randn(1, 3, 28, 28)):
        torch.testing.assert_close(x.mean((2, 3))[0].mean(), torch.tensor(11.5), atol=1e-3, rtol=0)
        torch.testing.assert_close(x[0].flatten(1).mean(1), torch.arange(24.0), atol=3, rtol=0)


@pytest.mark.parametrize("norm", ["norm", "fc_norm"])
def test_the_final_norm_is_read_from_a_file(norm, tmp_path):
    """A fine-tuned EVA02 has it behind the pooling; a pretrained one is read by timm's filter."""
    small = {"depth": 2, "embed_dim": 24, "num_heads": 2}
    state = timm.create_model("eva02_base_patch14_224", **small).state_dict()
    weight = state.pop("fc_norm.weight") + torch.arange(24)
    state |= {f"{norm}.weight": weight, f"{norm}.bias": state.pop("fc_norm.bias")}
    if norm == "norm":
        state["mask_token"] = torch.zeros(1, 1, 24)
    torch.save(state, tmp_path / "eva.pth")
    network = build("eva02_base_patch14_224", **small)
    load_weights(network, tmp_path / "eva.pth", part="encoder")
    assert torch.equal(network.encoder.trunk.norm.weight, weight)


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((1024, 1024), (1120, 1120)),  # VFM-UDA: 80 x 80 tokens
        ((512, 1024), (560, 1120)),
        ((540, 960), (588, 1050)),
        ((406, 406), (406, 406)),  # patches divide it: as it is
        ((5, 5), (14, 14)),
    ],
)
def test_an_image_that_patches_do_not_divide_is_resized(size, seen):
    image = torch.zeros(1, 3, *size)
    assert fitting(image, 14).shape[2:] == seen
    assert (fitting(image, 14) is image) == (size == seen)


@torch.no_grad()
def test_maps_of_a_resized_image_cover_it_all():
    """A bright lower right quarter is a quarter of the maps, and nothing is cropped."""
    network = build("vit_small_patch14_dinov2", "upsample", depth=1, embed_dim=24, num_heads=2)
    seen = []
    network.encoder.trunk.patch_embed.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    image = torch.zeros(1, 3, 64, 128)
    image[..., 32:, 64:] = 1
    logits, features, _ = network(image)
    assert seen[0].shape == (1, 3, 70, 140)
    assert features[0].shape[2:] == (5, 10)
    assert logits.shape[2:] == (20, 40)
    torch.testing.assert_close(seen[0].mean(), torch.tensor(0.25))


def test_two_scales_need_logits_at_a_whole_stride():
    with pytest.raises(ValueError, match=r"12\.8 pixels"):
        zoo.build("hrda:timm:vit_small_patch14_dinov2:linear", depth=1, embed_dim=24, num_heads=2)
