"""Files of timm's and of efficientnet_pytorch's, by the names they are published with."""

import pytest
import timm
import torch

from methods.networks import zoo
from methods.networks.checkpoint_formats import convert, efficientnet_names
from methods.networks.weights import load_weights
from methods.parts.augment import MEAN, STD

#: Networks that lose a part behind their last map, each another one, and ones whose own names
#: look like a prefix.
PRUNED = [
    "cait_xxs24_224", "coat_tiny", "deepseek_vit_412m", "dpn68", "efficientvim_m1", "fastvit_t8",
    "ghostnet_100", "hrnet_w18_small", "inception_v4", "lowformer_b0", "mobilenetv4_conv_small",
    "rexnet_100", "samvit_base_patch16", "visformer_tiny", "volo_d1_224", "xcit_nano_12_p8_224",
]  # fmt: skip


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize("model", PRUNED)
def test_a_whole_network_of_timm_gives_its_encoder(model):
    if not timm.is_model(model):
        pytest.skip(f"this timm has no {model}")
    with torch.device("meta"):
        state = timm.create_model(model).state_dict()
        network = zoo.build(f"timm:{model}", head_channels=8)
    expected = network.state_dict()
    converted, description = convert(state, expected, from_published=network.encoder.from_published)
    wanted = {name: value for name, value in expected.items() if name.startswith("encoder.")}
    assert shapes(converted) == shapes(wanted)
    assert description == "encoder of timm"


def test_a_file_that_timm_itself_renames_first(tmp_path):
    """Swin's own names: the merging of patches at the end of a stage, attention masks, one head."""
    small = {"depths": (1, 1, 1, 1), "embed_dim": 24}
    state = timm.create_model("swin_tiny_patch4_window7_224", **small).state_dict()
    published = {"layers.0.blocks.0.attn_mask": torch.zeros(1)}
    for name, value in state.items():
        stage = int(name.split(".")[1]) if name.startswith("layers.") else 0
        name = name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        published[name.replace("head.fc", "head")] = value
    torch.save(published, tmp_path / "swin.pth")
    network = zoo.build("timm:swin_tiny_patch4_window7_224", head_channels=8, **small)
    description = load_weights(network, tmp_path / "swin.pth", part="encoder")
    assert description == "encoder that timm converts"
    mine = network.encoder.trunk.layers[1].downsample.reduction.weight
    assert torch.equal(mine, state["layers.1.downsample.reduction.weight"])


def test_a_parameter_that_timm_does_not_know_is_refused(tmp_path):
    state = timm.create_model("efficientnet_lite0").state_dict()
    torch.save(state | {"blocks.9.0.conv_pw.weight": torch.zeros(1)}, tmp_path / "more.pth")
    network = zoo.build("timm:efficientnet_lite0", head_channels=8)
    with pytest.raises(ValueError, match=r"no place for encoder\.trunk\.blocks\.9\.0\.conv_pw"):
        load_weights(network, tmp_path / "more.pth", part="encoder")


def test_the_file_of_another_size_is_refused(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(ValueError, match=r"it lacks encoder\.trunk\.layer1\.2"):
        load_weights(zoo.build("timm:resnet34"), tmp_path / "resnet18.pth", part="encoder")


EFFICIENTNET_PYTORCH = {
    "_conv_stem.weight": "conv_stem.weight",
    "_bn0.running_mean": "bn1.running_mean",
    "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
    "_blocks.0._bn1.weight": "blocks.0.0.bn1.weight",
    "_blocks.0._se_reduce.bias": "blocks.0.0.se.conv_reduce.bias",
    "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
    "_blocks.0._bn2.weight": "blocks.0.0.bn2.weight",
    "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
    "_blocks.2._bn0.bias": "blocks.1.1.bn1.bias",
    "_blocks.2._depthwise_conv.weight": "blocks.1.1.conv_dw.weight",
    "_blocks.2._bn1.bias": "blocks.1.1.bn2.bias",
    "_blocks.2._se_expand.weight": "blocks.1.1.se.conv_expand.weight",
    "_blocks.2._project_conv.weight": "blocks.1.1.conv_pwl.weight",
    "_blocks.2._bn2.bias": "blocks.1.1.bn3.bias",
    "_blocks.3._depthwise_conv.weight": "blocks.10.0.conv_dw.weight",
    "_conv_head.weight": "conv_head.weight",
    "_bn1.weight": "bn2.weight",
    "_fc.bias": "classifier.bias",
}


def test_names_of_efficientnet_pytorch():
    """Blocks are counted through there; a block that widens nothing has other names in timm."""
    state = {name: torch.full((1,), float(i)) for i, name in enumerate(EFFICIENTNET_PYTORCH)}
    timm_names = ["blocks.10.0.conv_dw.weight", "blocks.1.1.x", "blocks.0.0.x", "blocks.1.0.x"]
    renamed = efficientnet_names(state, timm_names)
    assert renamed == dict(zip(EFFICIENTNET_PYTORCH.values(), state.values(), strict=True))


def test_an_image_is_renormalised_where_the_weights_expect_another_mean():
    """The trunk sees the pixels by its own mean and deviation; the mean colour stays itself."""
    network = zoo.build("timm:tf_efficientnet_lite0", head="topdown", head_channels=8).eval()
    seen = []
    network.encoder.trunk.conv_stem.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    grey = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) / 255 for values in (MEAN, STD))
    with torch.no_grad():
        network((grey - mean) / std)
        network(torch.zeros(1, 3, 64, 64))
    assert torch.allclose(seen[0][..., :64, :64], (grey - 0.5) / 0.5, atol=1e-6)
    assert torch.allclose(seen[1][..., :64, :64], ((mean - 0.5) / 0.5).expand(1, 3, 64, 64))


def test_an_encoder_with_the_usual_mean_sees_the_image_itself():
    encoder = zoo.build("timm:resnet18", head="topdown", head_channels=8).encoder.eval()
    seen = []
    encoder.trunk.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    image = torch.randn(1, 3, 64, 64)
    encoder(image)
    assert seen[0] is image


def test_the_renormalisation_is_no_part_of_a_file():
    """Files of networks saved before it, and of timm, fit as they are."""
    encoder = zoo.build("timm:tf_efficientnet_lite0", head="topdown", head_channels=8).encoder
    assert all(name.startswith("trunk.") for name in encoder.state_dict())
    assert len(list(encoder.renormalise.buffers())) == 2
