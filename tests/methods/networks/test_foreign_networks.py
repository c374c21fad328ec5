"""Encoders of timm and networks of mmsegmentation, as Segmentors."""

import copy
import sys

import pytest
import torch

from methods.networks import mmseg_model, zoo
from methods.networks.weights import load_weights, save_weights
from methods.parts.augment import MEAN, STD

TIMM = {
    "convnext_atto": {},
    "resnet18": {},
    "efficientnet_lite0": {},
    "vit_tiny_patch16_224": {"depth": 4},
    "vit_small_patch14_dinov2": {"depth": 4, "embed_dim": 48, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1), "embed_dim": 24},
    "pvt_v2_b0": {},
}

TINY_CONFIG = """
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    pretrained="open-mmlab://never_fetched",
    backbone=dict(
        type="MixVisionTransformer", embed_dims=8, num_stages=4, num_layers=[1, 1, 1, 1],
        num_heads=[1, 2, 3, 4], patch_sizes=[7, 3, 3, 3], sr_ratios=[8, 4, 2, 1], mlp_ratio=4,
        qkv_bias=True, drop_path_rate=0.0,
        init_cfg=dict(type="Pretrained", checkpoint="https://invalid.invalid/never_fetched.pth"),
    ),
    decode_head=dict(
        type="SegformerHead", in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3], channels=16,
        dropout_ratio=0.1, num_classes=150, norm_cfg=norm_cfg, align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    auxiliary_head=dict(type="FCNHead", in_channels=24, in_index=2, channels=8, num_classes=150),
)
"""


@pytest.mark.parametrize("model", TIMM)
def test_timm_encoder_at_odd_sizes(model):
    network = zoo.build(f"timm:{model}", head_channels=8, **TIMM[model])
    logits, features, fused = network(torch.randn(2, 3, 75, 109))
    assert network.feature_channels == [f.shape[1] for f in features]
    assert len(features) == 4
    assert logits.shape[1] == 19
    assert fused.shape[1] == network.fused_channels == 8
    stride = 109 / features[0].shape[3]
    patch = 12.8 if "patch14" in model else 16 if "patch16" in model else 4
    assert patch * 0.9 < stride <= patch
    assert 3 < 109 / logits.shape[3] <= 4  # of a plain ViT's map the head makes a finer one
    logits.square().sum().backward()
    assert not [n for n, p in network.encoder.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("timm:convnext_tiny", 4),
        ("timm:swin_tiny_patch4_window7_224", 4),
        ("timm:pvt_v2_b2", 4),
        ("timm:vit_small_patch16_224:linear", 16),
        ("mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024", 4),
    ],
)
def test_whole_networks_pad_what_does_not_fit(name, stride):
    """At their own sizes; timm's without storage, as what counts here is shapes."""
    device = "meta" if name.startswith("timm:") else "cpu"
    with torch.device(device), torch.no_grad():
        network = zoo.build(name).eval()
        logits, features, fused = network(torch.zeros(1, 3, 97, 190))
        again = network.features(torch.zeros(1, 3, 97, 190))
    cells = (-(-97 // stride), -(-190 // stride))
    assert logits.shape == (1, 19, *cells)
    assert fused.shape == (1, network.fused_channels, *cells)
    assert [f.shape[1] for f in features] == network.feature_channels
    assert [f.shape for f in features] == [f.shape for f in again]


def test_names_of_other_libraries():
    assert {"timm:convnext_tiny", "timm:pvt_v2_b2", "timm:vit_small_patch16_224"} <= set(
        zoo.foreign_names("timm")
    )
    configs = zoo.foreign_names("mmseg")
    assert "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024" in configs
    assert len(configs) > 300
    assert not [name for name in configs if "_base_" in name or name.endswith(".py")]


def test_timm_padding_does_not_change_a_fitting_image():
    network = zoo.build("timm:convnext_atto", head="topdown", head_channels=8).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = network.encoder.trunk.forward_intermediates(image, intermediates_only=True)
        for feature, other in zip(network(image).features, expected, strict=True):
            assert torch.equal(feature, other)


def test_a_timm_encoder_takes_the_head_named_behind_it():
    name = "timm:test_convnext:topdown"
    network = zoo.build(name)
    assert network.name == name
    assert type(network.head).__name__ == "TopDownHead"
    assert type(zoo.build("timm:test_convnext").head).__name__ == "DAFormerHead"
    assert zoo.describe(name) == "timm's test_convnext with the head topdown"
    assert zoo.pretrained(name) == zoo.pretrained("timm:test_convnext") != ""
    with pytest.raises(ValueError, match="unknown head 'topdwn', expected one of daformer"):
        zoo.describe("timm:test_convnext:topdwn")


def test_a_timm_encoder_bound_to_one_size_sees_tiles_of_it():
    sizes = {"img_size": 32, "depth": 4, "embed_dim": 16, "num_heads": 2}
    name = "timm:vit_relpos_small_patch16_224"
    network = zoo.build(name, head="topdown", head_channels=8, **sizes).eval()
    assert network.size_multiple == 32
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        corner = network.features(image[:, :, 32:, 32:64])
        for whole, tile in zip(network.features(image), corner, strict=True):
            assert whole.shape == (2, 16, 4, 6)
            torch.testing.assert_close(whole[:, :, 2:, 2:4], tile)
        assert network(torch.randn(2, 3, 75, 109)).logits.shape == (2, 19, 19, 28)


@pytest.mark.parametrize("name", ["timm:xcit_nano_12_p8_224", "timm:twins_svt_small"])
def test_a_timm_encoder_only_said_to_be_bound_sees_the_whole_image(name):
    with torch.device("meta"):
        network = zoo.build(name)
    assert network.encoder.trunk.pretrained_cfg["fixed_input_size"]
    assert network.encoder.tile is None


def test_timm_refuses_unknown_keywords():
    with pytest.raises(ValueError, match="timm:resnet18 refuses colour"):
        zoo.build("timm:resnet18", colour=3)


@pytest.fixture
def tiny_mmseg(tmp_path):
    config = tmp_path / "tiny.py"
    config.write_text(TINY_CONFIG)
    return zoo.build(f"mmseg:{config}", num_classes=19)


def test_mmseg_network(tiny_mmseg, tmp_path):
    logits, features, fused = tiny_mmseg(torch.randn(2, 3, 75, 109))
    assert logits.shape == (2, 19, 19, 28)
    assert [f.shape[1] for f in features] == tiny_mmseg.feature_channels == [8, 16, 24, 32]
    assert fused.shape == (2, tiny_mmseg.fused_channels, 19, 28)
    logits.square().sum().backward()
    assert not [n for n, p in tiny_mmseg.named_parameters() if p.grad is None]
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in tiny_mmseg.modules())
    save_weights(tiny_mmseg, tmp_path / "own.safetensors", {})
    assert load_weights(tiny_mmseg, tmp_path / "own.safetensors") == "uda-bench weights"


@pytest.mark.parametrize("size", [(67, 120), (34, 60)])  # 540 x 960 and 270 x 480, scaled down
@torch.no_grad()
def test_mmseg_logits_are_the_librarys_own_at_any_size(tiny_mmseg, size):
    """Nothing is padded where the backbone takes the image as it is."""
    tiny_mmseg.eval()
    image = torch.randn(1, 3, *size)
    assert tiny_mmseg.size_multiple == 1
    assert torch.equal(tiny_mmseg(image).logits, tiny_mmseg.head(tiny_mmseg.encoder(image)))


@torch.no_grad()
def test_mmseg_images_are_padded_to_what_the_backbone_takes():
    """UNet halves the image four times, and refuses what that leaves a rest of."""
    model = {
        "backbone": {"type": "UNet", "base_channels": 4, "norm_cfg": {"type": "BN"}},
        "decode_head": {
            "type": "FCNHead", "in_channels": 4, "in_index": 4, "channels": 4, "num_convs": 1,
            "norm_cfg": {"type": "BN"},
        },
    }  # fmt: skip
    network = mmseg_model.build("mmseg:x", model, 19).eval()
    assert network.size_multiple == 16
    assert network(torch.randn(1, 3, 40, 70)).logits.shape == (1, 19, 40, 70)


@torch.no_grad()
def test_mmseg_images_are_normalised_as_the_config_says(tmp_path):
    config = tmp_path / "half.py"
    preprocessor = 'model["data_preprocessor"] = dict(mean=[127.5] * 3, std=[127.5] * 3)'
    config.write_text(TINY_CONFIG + preprocessor)
    read = zoo.read_config(f"mmseg:{config}")
    assert read["data_preprocessor"] == {"mean": [127.5] * 3, "std": [127.5] * 3}
    network = zoo.build(f"mmseg:{config}").eval()
    white = (1 - torch.tensor(MEAN) / 255) / (torch.tensor(STD) / 255)
    seen = network.renormalise(white.view(1, 3, 1, 1).expand(1, 3, 8, 8))
    torch.testing.assert_close(seen, torch.ones(1, 3, 8, 8))
    usual = "dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])"
    config.write_text(f'{TINY_CONFIG}model["data_preprocessor"] = {usual}')
    assert "data_preprocessor" not in zoo.read_config(f"mmseg:{config}")


@torch.no_grad()
def test_mmseg_logits_are_the_classified_fused_map(tiny_mmseg):
    tiny_mmseg.eval()
    image = torch.randn(1, 3, 64, 96)
    logits, _, fused = tiny_mmseg(image)
    torch.testing.assert_close(tiny_mmseg.head.conv_seg(fused), logits)
    torch.testing.assert_close(tiny_mmseg.head(tiny_mmseg.encoder(image)), logits)
    teacher = copy.deepcopy(tiny_mmseg)
    for parameter in tiny_mmseg.parameters():
        parameter.zero_()
    assert torch.equal(teacher(image).fused, fused)


def test_mmseg_file_fits_its_network_and_gives_its_encoder_to_ours(tiny_mmseg, tmp_path):
    names = {"encoder": "backbone", "head": "decode_head"}
    state = {
        f"{names[part]}.{name}": value.clone()
        for part, name, value in (
            (*key.split(".", 1), value) for key, value in tiny_mmseg.state_dict().items()
        )
    }
    state["auxiliary_head.conv_seg.weight"] = torch.zeros(19, 8, 1, 1)
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "segformer.pth")
    load_weights(tiny_mmseg, tmp_path / "segformer.pth")
    ours = zoo.build("test_mit").eval()
    with pytest.raises(ValueError, match=r"no place for head\.convs"):
        load_weights(ours, tmp_path / "segformer.pth")
    description = load_weights(ours, tmp_path / "segformer.pth", part="encoder")
    assert "MiT encoder of mmsegmentation" in description
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        theirs = tiny_mmseg.eval().encoder(image)
        # Its attention norms have epsilon 1e-6.
        for feature, other in zip(ours(image).features, theirs, strict=True):
            torch.testing.assert_close(feature, other, rtol=1e-2, atol=2e-3)


def test_mmseg_by_the_name_of_a_packaged_config():
    name = "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"
    network = zoo.build(f"mmseg:{name}")
    assert network.feature_channels == [32, 64, 160, 256]
    assert zoo.describe(f"mmseg:{name}") == f"mmsegmentation's {name}"
    backwards = zoo.build("mmseg:unet/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024").eval()
    with torch.no_grad():
        features = backwards(torch.randn(1, 3, 40, 70)).features
    assert [f.shape[1] for f in features] == backwards.feature_channels == [64, 128, 256, 512, 1024]


@pytest.mark.parametrize("backbone", ["BEiT", "MAE"])
@torch.no_grad()
def test_mmseg_encoders_bound_to_one_size_see_tiles_of_it(backbone):
    """As in the packaged configs of BEiT and MAE, whose neck has no initialisation of its own."""
    model = {
        "backbone": {
            "type": backbone,
            "img_size": (32, 32),
            "patch_size": 16,
            "embed_dims": 12,
            "num_layers": 4,
            "num_heads": 2,
            "mlp_ratio": 2,
            "out_indices": (0, 1, 2, 3),
        },
        "neck": {"type": "Feature2Pyramid", "embed_dim": 12, "rescales": [4, 2, 1, 0.5]},
        "decode_head": {
            "type": "UPerHead",
            "in_channels": [12, 12, 12, 12],
            "in_index": [0, 1, 2, 3],
            "channels": 8,
            "norm_cfg": {"type": "BN"},
        },
    }
    torch.manual_seed(0)
    network = mmseg_model.build("mmseg:x", model, 19).eval()
    image = torch.randn(1, 3, 32, 64)
    whole, right = network(image).features[-1], network(image[..., 32:]).features[-1]
    assert whole.shape == (1, 12, 2, 4)
    torch.testing.assert_close(whole[..., 2:], right)
    assert network(torch.randn(1, 3, 40, 70)).logits.shape[1] == 19


def test_mmseg_refusals():
    with pytest.raises(ValueError, match=r"no config .*expected mmseg:FOLDER/NAME.*did you mean"):
        zoo.build("mmseg:segformer/none")
    with pytest.raises(ValueError, match="did you mean 'mmseg:segformer/segformer_mit-b5_8xb2"):
        zoo.build("mmseg:segformer/segformer_mit-b5_8xb2-160k_ade20k-512x512.")
    with pytest.raises(ValueError, match="stands for a config file: name it"):
        zoo.build("mmseg:tiny.py@0123456789")
    with pytest.raises(ValueError, match="is a CascadeEncoderDecoder"):
        zoo.build("mmseg:ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024")
    with pytest.raises(ValueError, match="needs more than mmsegmentation"):
        zoo.build("mmseg:mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024")
    with pytest.raises(ValueError, match="copy and edit its config"):
        zoo.build("mmseg:segformer/none", head_channels=3)


def test_a_broken_config_file_is_refused(tmp_path):
    config = tmp_path / "broken.py"
    for content, reason in (("model = dict(", "cannot be read"), ("lr = 1", "cannot be read")):
        config.write_text(content)
        with pytest.raises(ValueError, match=reason):
            zoo.build(f"mmseg:{config}")


def test_a_setuptools_without_pkg_resources_is_named(tmp_path, monkeypatch):
    """mmengine finds `mmseg::` with pkg_resources, which setuptools 82 dropped."""
    config = tmp_path / "mine.py"
    base = "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py"
    config.write_text(f"_base_ = ['mmseg::{base}']")
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    with pytest.raises(ValueError, match=r'pip install "setuptools<82"'):
        zoo.build(f"mmseg:{config}")


def test_mmcv_ops_stand_in():
    from methods.networks import mmcv_ops

    image = torch.arange(12.0).view(1, 1, 3, 4)
    centres = torch.tensor([[[0.5 / 4, 0.5 / 3], [3.5 / 4, 2.5 / 3]]])  # first and last pixel
    torch.testing.assert_close(mmcv_ops.point_sample(image, centres), torch.tensor([[[0.0, 11.0]]]))
    logits, target = torch.zeros(2, 3), torch.tensor([1, 3])  # 3: background
    loss = mmcv_ops.sigmoid_focal_loss(logits, target, reduction="none")
    log2 = torch.log(torch.tensor(2.0))
    expected = torch.full((2, 3), 0.75 * 0.25 * log2.item())
    expected[0, 1] = 0.25 * 0.25 * log2
    torch.testing.assert_close(loss, expected)
    mmcv_ops.install()
    with pytest.raises(ModuleNotFoundError, match="full mmcv"):
        from mmcv.ops import CrissCrossAttention  # noqa: F401
