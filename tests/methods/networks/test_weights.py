"""Every checkpoint format by the names it is published with, and every refusal."""

import datetime
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from methods.networks import zoo
from methods.networks.checkpoint_formats import convert
from methods.networks.encoders.mit import MixTransformer
from methods.networks.encoders.resnet import DilatedResNet
from methods.networks.heads.daformer import DAFormerHead
from methods.networks.heads.dlv2 import DLV2Head
from methods.networks.multi_scale import MultiScale
from methods.networks.segmentor import EncoderDecoder
from methods.networks.weights import load_weights, network_for, read_metadata, save_weights

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


def published(file):
    """A state_dict with the reference's own names: backbone.*, decode_head.*."""
    with np.load(GOLDEN / file) as arrays:
        names = [name for name in arrays.files if name.startswith("sd.")]
        return {name.removeprefix("sd."): torch.from_numpy(arrays[name]) for name in names}


def tiny_daformer(num_classes=19, channels=32):
    encoder = MixTransformer((16, 32, 40, 64), (1, 1, 1, 1), (1, 2, 5, 8))
    head = DAFormerHead(encoder.channels, num_classes, channels=channels)
    return EncoderDecoder("tiny", encoder, head)


def tiny_deeplab():
    encoder = DilatedResNet((3, 4, 6, 3), channels=(4, 8, 16, 32), stem_width=4)
    return EncoderDecoder("tiny", encoder, DLV2Head(encoder.channels, 19, (6, 12, 18, 24)))


def saved(content, path, **kwargs):
    torch.save(content, path, **kwargs)
    return path


@pytest.fixture
def training_checkpoint(tmp_path):
    state = published("a_daformer_tiny.npz")
    content = {f"model.{key}": value for key, value in state.items()}
    content |= {f"ema_model.{key}": value + 1 for key, value in state.items()}
    content |= {f"imnet_model.{k}": v + 2 for k, v in state.items() if k.startswith("backbone.")}
    meta = {"epoch": 1, "iter": 40000, "config": "UniHead", "CLASSES": ("road", "sidewalk")}
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": []}
    content = {"meta": meta, "state_dict": content, "optimizer": optimizer}
    return saved(content, tmp_path / "iter_40000_relevant.pth")


@pytest.mark.parametrize(("which", "offset"), [("student", 0), ("ema_teacher", 1)])
def test_self_training_checkpoint(training_checkpoint, which, offset):
    network = tiny_daformer()
    description = load_weights(network, training_checkpoint, which=which)
    assert which.replace("_", " ") in description
    assert "MiT encoder, DAFormer head" in description
    state = published("a_daformer_tiny.npz")
    theirs = state["decode_head.conv_seg.weight"] + offset
    assert torch.equal(network.head.conv_seg.weight, theirs)
    q = network.encoder.get_submodule("block2.0.attn.q")
    assert torch.equal(q.weight, state["backbone.block2.0.attn.q.weight"] + offset)


def test_self_training_checkpoint_of_hrda_gives_its_encoder(tmp_path):
    state = {f"model.{k}": v for k, v in published("a_daformer_tiny.npz").items()}
    state = {k.replace("decode_head.", "decode_head.head."): v for k, v in state.items()}
    state["model.decode_head.scale_attention.conv_seg.weight"] = torch.zeros(19, 32, 1, 1)
    path = saved({"state_dict": state}, tmp_path / "hrda.pth")
    with pytest.raises(ValueError, match=r"no place for attention_head\.linear_pred"):
        load_weights(tiny_daformer(), path)
    network = tiny_daformer()
    load_weights(network, path, part="encoder")
    norm = published("a_daformer_tiny.npz")["backbone.norm4.weight"]
    assert torch.equal(network.encoder.norm4.weight, norm)


def test_self_training_checkpoint_of_hrda_is_a_network_at_two_scales(tmp_path):
    """Its attention embeds every stage and fuses them, the finest first."""
    network = MultiScale(tiny_daformer(channels=32)).eval()
    ours = network.attention_head.state_dict()
    theirs = {}
    for key, value in ours.items():
        key = re.sub(r"linear_c(\d)", lambda m: f"embed_layers.{int(m[1]) - 1}", key)
        key = key.replace("linear_fuse", "fuse_layer").replace("linear_pred", "conv_seg")
        theirs[key] = torch.rand_like(value) if value.dim() else value
    state = published("a_daformer_tiny.npz")
    state = {k.replace("decode_head.", "decode_head.head."): v for k, v in state.items()}
    state |= {f"decode_head.scale_attention.{key}": value for key, value in theirs.items()}
    content = {f"model.{key}": value for key, value in state.items()}
    path = saved({"state_dict": content}, tmp_path / "hrda.pth")
    description = load_weights(network, path)
    assert description.endswith("DAFormer head and scale attention of HRDA")
    stages = [torch.randn(1, c, 8 >> i, 8 >> i) for i, c in enumerate(network.feature_channels)]
    embedded = [
        nn.functional.interpolate(
            nn.functional.conv2d(
                stage,
                theirs[f"embed_layers.{i}.proj.weight"][:, :, None, None],
                theirs[f"embed_layers.{i}.proj.bias"],
            ),
            size=(8, 8),
            mode="bilinear",
        )
        for i, stage in enumerate(stages)
    ]
    x = nn.functional.conv2d(torch.cat(embedded, 1), theirs["fuse_layer.conv.weight"])
    bn = {k.removeprefix("fuse_layer.bn."): v for k, v in theirs.items() if ".bn." in k}
    x = nn.functional.batch_norm(
        x, bn["running_mean"], bn["running_var"], bn["weight"], bn["bias"]
    ).relu()
    expected = nn.functional.conv2d(x, theirs["conv_seg.weight"], theirs["conv_seg.bias"])
    with torch.no_grad():
        attention, _ = network.attention_head(stages)
    torch.testing.assert_close(attention, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_mit_image_net_file_of_nvlabs(tmp_path, wrapper):
    state = published("a_daformer_tiny.npz")
    state = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    content = state | {"head.weight": torch.zeros(1000, 64), "head.bias": torch.zeros(1000)}
    content = {wrapper: content} if wrapper else content
    path = saved(content, tmp_path / "mit_b0.pth", _use_new_zipfile_serialization=False)
    network = tiny_daformer()
    head_before = network.head.conv_seg.weight.clone()
    assert load_weights(network, path, part="encoder") == "MiT encoder"
    assert torch.equal(network.encoder.norm3.bias, state["norm3.bias"])
    assert torch.equal(network.head.conv_seg.weight, head_before)
    with pytest.raises(ValueError, match=r"no segmentation head; .*bench run --init FILE"):
        load_weights(network, path)


def test_segformer_file_of_nvlabs_drops_its_unused_classifier(tmp_path):
    network = zoo.build("test_mit", head="segformer", head_channels=8)
    state = {
        k.replace("encoder.", "backbone.", 1).replace("head.", "decode_head.", 1): v + 1
        for k, v in network.state_dict().items()
    }
    state["decode_head.conv_seg.weight"] = torch.zeros(19, 128, 1, 1)
    path = saved({"state_dict": state, "meta": {}}, tmp_path / "segformer.b0.pth")
    expected = network.head.linear_pred.weight + 1
    assert "SegFormer head" in load_weights(network, path)
    assert torch.equal(network.head.linear_pred.weight, expected)


def test_resnet_v1c_of_mmsegmentation(tmp_path):
    state = published("a2_dlv2_r50tiny.npz")
    state["auxiliary_head.conv_seg.weight"] = torch.zeros(19, 4, 1, 1)
    path = saved({"state_dict": state, "meta": {}}, tmp_path / "deeplab.pth")
    network = tiny_deeplab()
    assert "ResNet v1c encoder of mmsegmentation" in load_weights(network, path)
    assert torch.equal(network.encoder.bn1.running_var, state["backbone.stem.7.running_var"])
    assert torch.equal(network.encoder.conv1[3].weight, state["backbone.stem.3.weight"])


def test_resnet_without_batch_counters_is_complete(tmp_path):
    state = {
        k.removeprefix("backbone."): v
        for k, v in published("a2_dlv2_r50tiny.npz").items()
        if k.startswith("backbone.") and not k.endswith("num_batches_tracked")
    }
    path = saved(state | {"fc.weight": torch.zeros(1000, 128)}, tmp_path / "resnet50_v1c.pth")
    load_weights(tiny_deeplab(), path, part="encoder")


def test_timm_resnets(tmp_path):
    import timm

    trunk = timm.create_model("resnet50c", num_classes=3)
    network = zoo.build("deeplabv2_r50")
    load_weights(network, saved(trunk.state_dict(), tmp_path / "c.pth"), part="encoder")
    assert torch.equal(network.encoder.layer4[2].conv3.weight, trunk.layer4[2].conv3.weight)
    for name, reason in (("resnet50", "plain 7x7 stem"), ("resnet50d", "averages")):
        with torch.device("meta"):
            state = timm.create_model(name).state_dict()
        with pytest.raises(ValueError, match=reason):
            convert(state, network.state_dict().keys())


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "vit_tiny_patch16_224"])
def test_timm_files_fit_timm_encoders(tmp_path, name):
    import timm

    trunk = timm.create_model(name)
    network = zoo.build(f"timm:{name}", head="topdown", head_channels=8)
    path = saved(trunk.state_dict(), tmp_path / "timm.pth")
    assert load_weights(network, path, part="encoder") == "encoder of timm"
    ours = network.encoder.trunk.state_dict()
    assert all(torch.equal(ours[key], trunk.state_dict()[key]) for key in ours)


@pytest.mark.parametrize("kind", ["SegformerModel", "ForImageClassification", "ForSemanticSeg"])
@torch.no_grad()
def test_hugging_face_segformer(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=19)
    name = {"SegformerModel": kind, "ForSemanticSeg": "SegformerForSemanticSegmentation"}.get(
        kind, "SegformerForImageClassification"
    )
    theirs = getattr(transformers, name)(config).eval()
    for parameter in theirs.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert any(key.endswith("encoder.block.0.1.attention.self.key.bias") for key in file.keys())  # noqa: SIM118
    network = zoo.build("segformer_mitb0").eval()
    whole = kind == "ForSemanticSeg"
    description = load_weights(
        network, tmp_path / "model.safetensors", part="all" if whole else "encoder"
    )
    assert "MiT encoder of Hugging Face" in description
    image = torch.randn(1, 3, 64, 96)
    ours, hidden = network(image), theirs(image, output_hidden_states=True)
    # Its norms have epsilon 1e-5 throughout.
    for feature, their_feature in zip(ours.features, hidden.hidden_states, strict=True):
        torch.testing.assert_close(feature, their_feature, rtol=1e-3, atol=1e-3)
    if whole:
        torch.testing.assert_close(ours.logits, hidden.logits, rtol=1e-3, atol=1e-3)


def test_hugging_face_segformer_by_the_names_of_transformers_5(tmp_path):
    """Its files keep the older names; a state_dict saved by hand has its modules'."""
    transformers = pytest.importorskip("transformers", minversion="5.0")
    theirs = transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(num_labels=19)
    )
    state = theirs.state_dict()
    assert "segformer.stages.0.blocks.0.attention.q_proj.weight" in state
    theirs.save_pretrained(tmp_path)
    by_file, by_hand, by_encoder = (zoo.build("segformer_mitb0") for _ in range(3))
    load_weights(by_file, tmp_path / "model.safetensors")
    load_weights(by_hand, saved({"model": state}, tmp_path / "whole.pth"))
    encoder = theirs.segformer.state_dict()  # without "segformer."
    load_weights(by_encoder, saved(encoder, tmp_path / "encoder.pth"), part="encoder")
    expected = by_file.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in by_hand.state_dict().items())
    expected = by_file.encoder.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in by_encoder.encoder.state_dict().items())


MMSEG_B0 = "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"


def of_mmseg(name=MMSEG_B0):
    """That library's own network with norms that have seen something, and its file's content."""
    torch.manual_seed(0)
    network = zoo.build(name).eval()
    for key, value in network.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_()
        elif key.endswith("running_var"):
            value.uniform_(0.5, 2)
    state = {
        key.replace("encoder.", "backbone.", 1).replace("head.", "decode_head.", 1): value
        for key, value in network.state_dict().items()
    }
    state["auxiliary_head.conv_seg.weight"] = torch.zeros(19, 8, 1, 1)
    meta = {"dataset_meta": {"classes": ("road", "sidewalk")}, "iter": 160000}
    return network, {"meta": meta, "state_dict": state}


@pytest.mark.parametrize("size", ["b0", "b2"])
@torch.no_grad()
def test_whole_segformer_of_mmsegmentation(tmp_path, size):
    """Its head is 256 wide at every size, has a norm a stage, and fuses the finest first."""
    theirs, content = of_mmseg(MMSEG_B0.replace("-b0", f"-{size}"))
    path = saved(content, tmp_path / "segformer.pth")
    name = network_for(f"segformer_mit{size}", path)
    assert name == f"segformer_mmseg_mit{size}"
    ours = zoo.build(name).eval()
    description = load_weights(ours, path)
    assert description == "MiT encoder of mmsegmentation, SegFormer head of mmsegmentation"
    image = torch.randn(1, 3, 64, 96)
    expected = theirs(image).logits
    assert expected.std() > 0.01
    torch.testing.assert_close(ours(image).logits, expected, rtol=1e-4, atol=1e-4)
    own_file = tmp_path / "own.safetensors"
    save_weights(ours, own_file, {"network": ours.name})
    assert network_for(f"segformer_mit{size}", own_file) == name
    again = zoo.build(read_metadata(own_file)["network"]).eval()
    load_weights(again, own_file)
    assert torch.equal(again(image).logits, ours(image).logits)


def test_segformer_of_mmsegmentation_goes_into_its_own_network_and_into_no_other(tmp_path):
    own, content = of_mmseg()
    path = saved(content, tmp_path / "segformer.pth")
    load_weights(own, path)
    assert network_for(MMSEG_B0, path) == MMSEG_B0
    for name in ("segformer_mitb0", "daformer_mitb0"):
        network = zoo.build(name)
        with pytest.raises(ValueError, match=r"norm and a ReLU.*--student segformer_mmseg_mitb0"):
            load_weights(network, path)
        assert "MiT encoder of mmsegmentation" in load_weights(network, path, part="encoder")


def test_other_files_keep_the_network_that_was_asked_for(tmp_path):
    assert network_for("segformer_mitb0", tmp_path / "none.pth") == "segformer_mitb0"
    path = tmp_path / "authors.safetensors"
    save_weights(zoo.build("segformer_mitb0"), path, {})
    assert network_for("segformer_mitb0", path) == "segformer_mitb0"


def test_own_file_keeps_metadata(tmp_path):
    path = tmp_path / "net.safetensors"
    save_weights(zoo.build("test_mit"), path, {"network": "test_mit"})
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"network": "test_mit"}


def test_own_file_gives_the_encoder_to_another_head(tmp_path):
    save_weights(zoo.build("test_mit"), tmp_path / "a.safetensors", {})
    other = zoo.build("test_mit", head="daformer", head_channels=8)
    load_weights(other, tmp_path / "a.safetensors", part="encoder")
    with pytest.raises(ValueError, match=r"it lacks head\.embed_layers.* and \d+ more"):
        load_weights(other, tmp_path / "a.safetensors")


def test_refusals_change_nothing(training_checkpoint):
    network = tiny_daformer(num_classes=16)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"take a checkpoint of 16 classes, this one has 19; .*--init FILE"
    ):
        load_weights(network, training_checkpoint)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    with pytest.raises(
        ValueError,
        match=r"shapes differ at head\.conv_seg\.weight \(19, 32, 1, 1\) for \(19, 8, 1, 1\)",
    ):
        load_weights(tiny_daformer(channels=8), training_checkpoint)
    with pytest.raises(ValueError, match=r"it lacks encoder\.bn1\.bias.* no place for"):
        load_weights(tiny_deeplab(), training_checkpoint)


def test_missing_teacher_is_said(tmp_path):
    path = saved(published("a_daformer_tiny.npz"), tmp_path / "published.pth")
    with pytest.raises(ValueError, match="holds no ema teacher"):
        load_weights(tiny_daformer(), path, which="ema_teacher")


def test_one_missing_key_is_named(tmp_path):
    state = published("a_daformer_tiny.npz")
    del state["backbone.block3.0.mlp.fc2.bias"]
    with pytest.raises(ValueError, match=r"it lacks encoder\.block3\.0\.mlp\.fc2\.bias"):
        load_weights(tiny_daformer(), saved(state, tmp_path / "a.pth"))


def test_files_that_are_no_weights(tmp_path):
    network = zoo.build("test_mit")
    with pytest.raises(ValueError, match="is not there"):
        load_weights(network, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello, this is no checkpoint at all")
    with pytest.raises(ValueError, match="neither a safetensors nor a torch file"):
        load_weights(network, tmp_path / "text.pth")
    with pytest.raises(ValueError, match="holds no state_dict"):
        load_weights(network, saved({"epoch": 3}, tmp_path / "epoch.pth"))
    content = {"state_dict": {"a": torch.zeros(1)}, "meta": datetime.date(2024, 1, 1)}
    for zipped in (True, False):
        path = saved(content, tmp_path / "date.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=r"holds datetime\.date besides tensors"):
            load_weights(network, path)
    path = saved(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"holds torch\.nn\.modules\.linear\.Linear"):
        load_weights(network, path)


def test_files_of_the_same_weights_are_the_same_bytes(tmp_path):
    """The library writes metadata in an order of chance, which would change a file's hash."""
    network, metadata = zoo.build("test_mit"), dict.fromkeys("zyxwv", "é")
    for number in range(4):
        save_weights(network, tmp_path / str(number), metadata)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert read_metadata(tmp_path / "0") == metadata
    load_weights(network, tmp_path / "0")
