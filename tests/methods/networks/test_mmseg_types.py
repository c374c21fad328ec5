"""A config that could run a program or read a file is refused before anything is built."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from methods.networks import mmcv_ops, mmseg_model, mmseg_types, zoo
from methods.networks.encoders import timm as timm_encoder

MODEL = {
    "backbone": {
        "type": "MixVisionTransformer",
        "embed_dims": 8,
        "num_layers": [1, 1, 1, 1],
        "num_heads": [1, 2, 3, 4],
        "norm_cfg": {"type": "LN"},
    },
    "decode_head": {
        "type": "SegformerHead",
        "in_channels": [8, 16, 24, 32],
        "in_index": [0, 1, 2, 3],
        "channels": 16,
        "norm_cfg": {"type": "BN"},
        "act_cfg": {"type": "ReLU"},
        "sampler": {"type": "OHEMPixelSampler"},
        "loss_decode": [{"type": "CrossEntropyLoss", "class_weight": [1.0] * 19}],
        "init_cfg": [{"type": "Normal", "std": 0.01, "override": {"name": "conv_seg"}}],
    },
}


def changed(key: str, value):
    """The model with another value at that key, such as `decode_head.norm_cfg.type`."""
    model = copy.deepcopy(MODEL)
    *steps, last = (int(step) if step.isdigit() else step for step in key.split("."))
    inner = model
    for step in steps:
        inner = inner.setdefault(step, {}) if isinstance(inner, dict) else inner[step]
    inner[last] = value
    return model


class Spoiled:
    """What a pickle may run."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_a_model_of_registered_types_is_built():
    network = mmseg_model.build("mmseg:x", MODEL, 19)
    assert network.feature_channels == [8, 16, 24, 32]
    assert type(network.head.sampler).__name__ == "OHEMPixelSampler"


@pytest.mark.parametrize(
    "key",
    [
        "backbone.type",
        "decode_head.type",
        "backbone.norm_cfg.type",
        "decode_head.act_cfg.type",
        "decode_head.sampler.type",
        "decode_head.loss_decode.0.type",
        "decode_head.init_cfg.0.type",
        "decode_head.init_cfg.0.override.type",
        "neck.type",
        "backbone.plugins.cfg.type",
    ],
)
@pytest.mark.parametrize(
    "wanted",
    [
        "subprocess.getoutput",
        "torch.nn.BatchNorm2d",
        "mmdet.ResNet",
        "mmseg.ResNet",
        "antigravity",
        "VPD",
        print,
        ["BN"],
        None,
    ],
)
def test_any_other_type_is_refused_wherever_it_stands(key, wanted):
    mmcv_ops.install()
    with pytest.raises(ValueError, match=f"mmseg:x needs .*: {key} is .*; expected the plain name"):
        mmseg_types.check("mmseg:x", changed(key, wanted))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("decode_head.loss_decode.0.class_weight", "weights", "a file; expected the weights"),
        ("backbone.norm_cfg._scope_", "antigravity", "no scope"),
        ("backbone.conv_type", "subprocess.getoutput", "no path, URL or import"),
        ("backbone.vocabulary", "/etc/passwd", "no path, URL or import"),
        ("backbone.vocabulary", ["https://invalid.invalid/x"], r"\.0 is .*no path, URL"),
        ("backbone.pretrained_cfg", {"file": "x"}, "nothing that is read from a file"),
        ("backbone.model_name", "hf-hub:someone/model", "a network of timm's"),
        ("backbone.model_name", "local-dir:resnet18", "a network of timm's"),
        ("backbone.norm_layer", torch.nn.LayerNorm, "plain values"),
    ],
)
def test_other_ways_to_files_and_programs_are_refused(key, value, reason):
    mmcv_ops.install()
    with pytest.raises(ValueError, match=rf"mmseg:x: {key}.*{reason}"):
        mmseg_types.check("mmseg:x", changed(key, value))


@pytest.mark.parametrize("suffix", [".pkl", ".npy", ""])
def test_class_weights_in_a_file_are_not_unpickled(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"weights{suffix}").write_bytes(pickle.dumps(Spoiled(tmp_path / "ran")))
    model = changed("decode_head.loss_decode.0.class_weight", f"weights{suffix}")
    with pytest.raises(ValueError, match="a file; expected the weights themselves"):
        mmseg_model.build("mmseg:x", model, 19)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "init_cfg",
    [
        {"type": "Pretrained", "checkpoint": "spoiled"},
        {"type": "Pretrained_Part", "checkpoint": "spoiled"},
        {"type": "Normal", "checkpoint": "spoiled"},
        {"type": "PretrainedInit"},
        [{"type": "Pretrained", "checkpoint": "spoiled"}],
        [[{"type": "Pretrained", "checkpoint": "spoiled"}]],
    ],
)
def test_weights_are_left_out(init_cfg):
    model = mmseg_types.without_weights(changed("backbone.init_cfg", init_cfg))
    assert model == changed("backbone.init_cfg", None)


def test_initialisers_beside_weights_stay():
    drawn = {"type": "Constant", "val": 1.0, "layer": ["BatchNorm2d"]}
    model = changed("backbone.init_cfg", [{"type": "Pretrained", "checkpoint": "x"}, drawn])
    assert mmseg_types.without_weights(model) == changed("backbone.init_cfg", [drawn])


@pytest.mark.parametrize("key", ["pretrained", "init_cfg"])
def test_a_backbone_reads_no_weights(key, tmp_path, monkeypatch):
    """Swin's reads the checkpoint whatever the type of its initialiser is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spoiled").write_bytes(pickle.dumps(Spoiled(tmp_path / "ran")))
    model = copy.deepcopy(MODEL)
    model["backbone"] = {
        "type": "SwinTransformer",
        "embed_dims": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
        key: "spoiled" if key == "pretrained" else {"type": "Normal", "checkpoint": "spoiled"},
    }
    model["decode_head"]["in_channels"] = [8, 16, 32, 64]
    assert mmseg_model.build("mmseg:x", model, 19).feature_channels == [8, 16, 32, 64]
    assert not (tmp_path / "ran").exists()


def test_timm_in_a_config_fetches_nothing(tmp_path):
    model = copy.deepcopy(MODEL)
    model["backbone"] = {
        "type": "TIMMBackbone",
        "model_name": "test_resnet",
        "checkpoint_path": str(tmp_path / "spoiled"),
    }
    model["decode_head"] |= {"in_channels": [32, 48, 48, 96], "in_index": [1, 2, 3, 4]}
    assert len(mmseg_model.build("mmseg:x", model, 19).feature_channels) == 5


def test_types_that_a_model_makes_of_other_arguments_are_registered_too():
    """`check` cannot see that a TIMMBackbone looks its norm_layer up."""
    backbone = {"type": "TIMMBackbone", "model_name": "test_resnet", "norm_layer": "antigravity"}
    with pytest.raises(ValueError, match="'antigravity' is no registered model"):
        mmseg_model.build("mmseg:x", MODEL | {"backbone": backbone}, 19)


def test_no_checkpoint_is_read_while_a_model_is_built():
    from mmengine.runner import CheckpointLoader

    with (
        mmseg_types.registered_only(),
        pytest.raises(RuntimeError, match="reads 'spoiled' while it is built; expected no file"),
    ):
        CheckpointLoader.load_checkpoint("spoiled")


@pytest.mark.parametrize("part", ["backbone", "decode_head"])
@pytest.mark.parametrize("value", [None, [], "ResNet"])
def test_a_model_that_lacks_a_part_is_refused(part, value):
    with pytest.raises(ValueError, match="lacks a part; expected a backbone and a decode_head"):
        mmseg_model.build("mmseg:x", MODEL | {part: value}, 19)


def test_types_that_do_not_fit_their_place_are_refused():
    with pytest.raises(ValueError, match="mmseg:x"):
        mmseg_model.build("mmseg:x", changed("backbone.type", "SegformerHead"), 19)
    with pytest.raises(ValueError, match="mmseg:x cannot be built"):
        mmseg_model.build("mmseg:x", changed("decode_head.in_index", [0, 1]), 19)


@pytest.mark.parametrize("lead", ["", "../../../", "segformer/../../../../"])
def test_a_name_without_py_stays_in_the_package(lead, tmp_path):
    config = tmp_path / "outside.py"
    config.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    out = "../" * 30 if lead else ""
    with pytest.raises(ValueError, match=r"no config .*expected mmseg:FOLDER/NAME"):
        zoo.build(f"mmseg:{lead}{out}{str(config).removesuffix('.py')}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["timm:hf-hub:daformer", "timm:local-dir:daformer", "timm:hf_hub", "timm:resnet18.none"]
)
def test_timm_names_are_plain(name):
    with pytest.raises(ValueError, match="timm"):
        zoo.build(name)
    assert name.removeprefix("timm:") not in timm_encoder.names()


def test_mmengine_has_its_own_functions_again_after_an_error():
    from mmengine.registry import Registry
    from mmengine.runner.checkpoint import CheckpointLoader

    before = vars(Registry)["get"], vars(CheckpointLoader)["load_checkpoint"]
    with pytest.raises(ZeroDivisionError), mmseg_types.registered_only():
        1 / (vars(Registry)["get"] is before[0])  # replaced: zero
    assert (vars(Registry)["get"], vars(CheckpointLoader)["load_checkpoint"]) == before
