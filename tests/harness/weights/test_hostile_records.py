"""A record or checkpoint from a stranger runs nothing: one line, exit code 2."""

from __future__ import annotations

import json
import tarfile

import pytest
from bench_cli import IMAGES, bench, refused
from fake_records import fake_record
from PIL import Image

from harness.config.network_files import NETWORKS, pinned, recorded, register
from harness.config.replanning import replan
from harness.config.schema import content_hash
from harness.errors import BenchError
from harness.records import store
from methods.networks import zoo
from methods.networks.weights import load_weights, save_weights

GENERATED = {"source": 6, "target": 6, "val": 2}
PROFILE = {"image_size": IMAGES, "generated": GENERATED, "workers": 0, "crop": (32, 64)}


CONFIG = """
model = dict(
    type="EncoderDecoder",
    backbone=dict(type="MixVisionTransformer", embed_dims=8, num_layers=[1, 1, 1, 1]),
    decode_head=dict(type="SegformerHead", in_channels=[8, 16, 40, 64], in_index=[0, 1, 2, 3]),
)
"""


def write_config(folder, content=CONFIG):
    folder.mkdir()
    (folder / "tiny.py").write_text(content)
    return f"mmseg:{folder / 'tiny.py'}"


@pytest.fixture(autouse=True)
def own_configs(monkeypatch):
    monkeypatch.setattr(zoo, "CONFIGS", {})


def named(config):
    return f"mmseg:evil.py@{content_hash(config)}"


def of_a_type(marker, _):
    config = {
        "backbone": {"type": "subprocess.getoutput", "cmd": f"touch {marker}"},
        "decode_head": {"type": "SegformerHead"},
    }
    return named(config), {named(config): config}


def of_a_nested_type(marker, _):
    norm = {"type": "subprocess.getoutput", "cmd": f"touch {marker}"}
    config = {
        "backbone": {"type": "ResNet", "depth": 18, "norm_cfg": {"type": "BN"}},
        "decode_head": {"type": "SegformerHead", "loss_decode": [norm]},
    }
    return named(config), {named(config): config}


def under_another_name(marker, _):
    _, networks = of_a_type(marker, _)
    name = "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"
    return name, dict.fromkeys([name], *networks.values())


def of_another_hash(marker, _):
    _, networks = of_a_type(marker, _)
    name = "mmseg:evil.py@0123456789"
    return name, dict.fromkeys([name], *networks.values())


def in_a_file(_, config):
    return f"mmseg:{config}", {}


def in_a_file_at_two_scales(_, config):
    return f"hrda:hrda:mmseg:{config}", {}


def in_a_file_without_suffix(_, config):
    return f"mmseg:{str(config).removesuffix('.py')}", {}


def of_a_repository(*_):
    return "timm:hf-hub:someone", {}


HOSTILE = [
    (of_a_type, "more than mmsegmentation itself: backbone.type is 'subprocess.getoutput'"),
    (of_a_nested_type, "decode_head.loss_decode.0.type is 'subprocess.getoutput'"),
    (under_another_name, "not what its name says"),
    (of_another_hash, "not what its name says"),
    (in_a_file, "is a config file, which would be run"),
    (in_a_file_at_two_scales, "is a config file, which would be run"),
    (in_a_file_without_suffix, "no config mmseg:"),
    (of_a_repository, "names weights of the Hugging Face hub"),
]


def hostile_run(make, folder):
    """A run's folder whose network does something, a record of it in a file, and the marker."""
    marker, config = folder / "ran", folder / "evil.py"
    config.write_text(f"open({str(marker)!r}, 'w')\n")
    name, networks = make(marker, config)
    record = fake_record(method="source_only", profile=PROFILE | {"student": name}, student=name)
    record = record.model_copy(
        update={"spec": record.spec.model_copy(update={"networks": networks})}
    )
    run = folder / "run"
    run.mkdir()
    save_weights(zoo.build("test_mit"), run / "student.safetensors", {"network": name})
    for file in (run / "run.json", folder / "baseline.json"):
        file.write_text(store.as_json(record))
    Image.new("RGB", (64, 32)).save(folder / "image.png")
    return marker


@pytest.mark.parametrize(("make", "reason"), HOSTILE)
def test_no_verb_runs_what_a_record_names(make, reason, tmp_path):
    marker = hostile_run(make, tmp_path)
    weights, out = ["--checkpoint", tmp_path / "run"], ["--out", tmp_path / "out"]
    for arguments in (
        ["check", "--baseline", tmp_path / "baseline.json"],
        ["predict", tmp_path / "image.png", *weights, *out],
        ["export", *weights, *out, "--no-onnx"],
        ["eval", *weights],
    ):
        line = refused(bench(*arguments))
        assert reason in line, arguments
        assert not marker.exists(), arguments


@pytest.mark.parametrize(("make", "reason"), HOSTILE[:4])
def test_no_verb_runs_what_a_file_of_weights_says_of_its_network(make, reason, tmp_path):
    marker = hostile_run(make, tmp_path)
    (tmp_path / "run/run.json").unlink()
    name, networks = make(marker, None)
    metadata = {"network": name, NETWORKS: json.dumps(networks)}
    save_weights(zoo.build("test_mit"), tmp_path / "run/student.safetensors", metadata)
    weights, out = ["--checkpoint", tmp_path / "run"], ["--out", tmp_path / "out"]
    teacher = ["--method", "dualkd", "--teacher-checkpoint", tmp_path / "run", "--dry-run"]
    for arguments in (
        ["predict", tmp_path / "image.png", *weights, *out],
        ["export", *weights, *out, "--no-onnx"],
        ["eval", *weights, "--scenario", "gta2cs"],
        ["run", "--scenario", "gta2cs", *teacher],
    ):
        assert reason in refused(bench(*arguments)), arguments
        assert not marker.exists(), arguments


@pytest.mark.parametrize("said", ["", "[]", "{", '{"mmseg:a.py@0123456789": 1}', "[" * 9999])
def test_networks_of_a_file_of_weights_that_are_none(said, tmp_path):
    weights = tmp_path / "a.safetensors"
    save_weights(zoo.build("test_mit"), weights, {"network": "test_mit", NETWORKS: said})
    arguments = ["--checkpoint", weights, "--out", tmp_path / "out", "--no-onnx"]
    line = refused(bench("export", *arguments))
    assert "a.safetensors: its networks are" in line
    assert "expected a table of configs by name" in line


def test_eval_does_not_run_the_file_that_a_profile_of_a_record_names(tmp_path):
    """Weights that do not say their network: then the record's profile does."""
    marker = hostile_run(in_a_file, tmp_path)
    save_weights(zoo.build("test_mit"), tmp_path / "run/student.safetensors", {})
    assert "config file" in refused(bench("eval", "--checkpoint", tmp_path / "run"))
    assert not marker.exists()


def test_a_file_of_the_user_is_read_and_its_types_are_checked(tmp_path):
    """It is a program of the user's own; what it describes is held to the same."""
    name = write_config(tmp_path / "a", CONFIG.replace("MixVisionTransformer", "subprocess.call"))
    arguments = ["--method", "source_only", "--scenario", "gta2cs", "--dry-run"]
    line = refused(bench("run", *arguments, "--student", name))
    assert "backbone.type is 'subprocess.call'; expected the plain name of a model" in line


def test_a_knob_of_a_record_names_no_file(tmp_path):
    config = tmp_path / "evil.py"
    config.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for knobs, reason in (
        ({"teacher": f"mmseg:{config}"}, "is a config file"),
        ({"teacher": f"hrda:mmseg:{config}"}, "is a config file"),
        ({"teacher": "test_mit", "teacher_checkpoint": "/dev/zero"}, "names a file"),
    ):
        spec = fake_record(
            method="dualkd", profile=PROFILE | {"student": "test_mit"}, config=knobs
        ).spec
        with pytest.raises(BenchError, match=reason):
            replan(spec, None)
    assert not (tmp_path / "ran").exists()


def test_names_that_a_record_may_give(tmp_path):
    own = pinned(write_config(tmp_path / "a"))
    for name in ("mini_s", "hrda:mini_s", "timm:resnet18", own, f"hrda:{own}", "mmseg:unet/x"):
        assert recorded(name) == name


def test_a_config_in_a_record_has_the_hash_of_its_name(tmp_path):
    own = pinned(write_config(tmp_path / "a"))
    config = zoo.CONFIGS.pop(own)
    for name in (own.replace("tiny.py", "a/tiny.py"), own[:-1], "mini_s", own + "\n"):
        with pytest.raises(BenchError, match="not what its name says"):
            register({own: config, name: config})
        assert not zoo.CONFIGS
    register({own: config})
    assert list(zoo.CONFIGS.items()) == [(own, config)]


def test_the_id_in_a_record_is_no_path(tmp_path):
    content = json.loads(store.as_json(fake_record())) | {"run_id": "../../x"}
    (tmp_path / "record.json").write_text(json.dumps(content))
    with pytest.raises(BenchError, match="broken record, run_id"):
        store.read(tmp_path / "record.json")


def test_a_tar_archive_is_not_unpickled(tmp_path):
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        archive.add(__file__, "pickle")
    with pytest.raises(ValueError, match=r"old\.pth is a tar archive"):
        load_weights(zoo.build("test_mit"), tmp_path / "old.pth")
