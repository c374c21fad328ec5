"""A config file of the user's: the run is named by what it holds, wherever it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bench_cli import QUICK, bench
from PIL import Image

from harness.config.network_files import as_metadata, pinned
from harness.config.planning import Request, resolve
from harness.config.replanning import replan
from harness.config.schema import RunSpec
from harness.records import store
from harness.runs.speed.cases import cross
from harness.runs.speed.session import ROOT, SpeedOptions, Worker
from methods.networks import zoo
from methods.networks.weights import save_weights

BASE = """
model = dict(
    type="EncoderDecoder",
    backbone=dict(
        type="MixVisionTransformer", embed_dims=8, num_stages=4, num_layers=[1, 1, 1, 1],
        num_heads=[1, 2, 3, 4], patch_sizes=(7, 3, 3, 3), sr_ratios=[8, 4, 2, 1], mlp_ratio=4,
        qkv_bias=True, drop_path_rate=0.0,
    ),
    decode_head=dict(
        type="SegformerHead", in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3], channels=16,
        dropout_ratio=0.1, num_classes=150, norm_cfg=dict(type="BN"), align_corners=False,
    ),
)
"""


def write_config(folder, base=BASE, own=""):
    """A config that inherits, as most do; its network's name."""
    folder.mkdir(exist_ok=True)
    (folder / "base.py").write_text(base)
    (folder / "tiny.py").write_text(f'_base_ = "base.py"\n{own}')
    return f"mmseg:{folder / 'tiny.py'}"


@pytest.fixture(autouse=True)
def own_configs(monkeypatch):
    monkeypatch.setattr(zoo, "CONFIGS", {})


def test_the_name_depends_on_the_content_alone(tmp_path):
    name = pinned(write_config(tmp_path / "a"))
    assert name.startswith("mmseg:tiny.py@")
    assert str(tmp_path) not in name
    assert pinned(write_config(tmp_path / "b", own="# a comment\nlr = 3\n")) == name
    wider = BASE.replace("channels=16", "channels=8")
    assert pinned(write_config(tmp_path / "a", base=wider)) != name
    deeper = "model = dict(backbone=dict(num_layers=[1, 1, 2, 1]))"
    assert pinned(write_config(tmp_path / "a", own=deeper)) != name
    assert pinned(name) == name
    assert pinned("timm:resnet18") == "timm:resnet18"


def test_the_zoo_builds_what_the_name_stands_for(tmp_path):
    name = pinned(write_config(tmp_path / "a"))
    write_config(tmp_path / "a", base="changed = since")
    network = zoo.build(name)
    assert network.name == name
    assert network.feature_channels == [8, 16, 24, 32]
    zoo.CONFIGS.clear()
    with pytest.raises(ValueError, match="stands for a config file"):
        zoo.build(name)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_run_is_the_same_from_any_folder(role, tmp_path):
    def spec(folder, **changes):
        request = Request(
            method="dualkd", scenario="gta2cs", student="test_mit", teacher="test_deeplab"
        )
        network = write_config(tmp_path / folder, **changes)
        return resolve(request.model_copy(update={role: network})).spec

    first, second = spec("a"), spec("b")
    assert first == second
    assert str(tmp_path) not in first.model_dump_json()
    other = spec("a", base=BASE.replace("channels=16", "channels=8"))
    assert len({first.run_id, second.run_id, other.run_id}) == 2
    # Another process, as a sweep's worker is, knows the spec alone.
    zoo.CONFIGS.clear()
    again = replan(RunSpec.model_validate_json(first.model_dump_json()), None)
    assert again.spec == first
    assert set(zoo.CONFIGS) == set(first.networks) != set()


def test_a_run_and_its_weights_need_the_file_no_more(tmp_path):
    results = tmp_path / "results"
    network = write_config(tmp_path / "configs")
    quick = [network if part == "test_mit" else part for part in QUICK]
    arguments = ["--method", "source_only", "--scenario", "gta2cs", "--results", results, *quick]
    outcome = bench("run", *arguments)
    assert outcome.code == 0, outcome.err
    (record,) = store.read_all(results / "records")
    assert record.spec.student == pinned(network)
    zoo.CONFIGS.clear()
    (tmp_path / "configs/tiny.py").unlink()
    arguments = ["--checkpoint", record.run_id, "--results", results, "--out", tmp_path / "out"]
    outcome = bench("export", *arguments, "--no-onnx")
    assert outcome.code == 0, outcome.err
    card = json.loads((tmp_path / "out/student.json").read_text())
    assert card["network"] == record.spec.student
    assert card["run_id"] == record.run_id
    assert card["config"]["decode_head"]["channels"] == 16


def test_an_exported_network_of_a_config_file_is_used_from_its_own_folder(tmp_path, monkeypatch):
    """As the next line of `bench export` and the model card say, where no record is at hand."""
    own = pinned(write_config(tmp_path / "configs"))
    weights, size = tmp_path / "net.safetensors", ["--size", "64x64"]
    save_weights(zoo.build(own), weights, as_metadata(own))
    Image.new("RGB", (64, 32)).save(tmp_path / "image.png")
    for arguments in (
        ["predict", tmp_path / "image.png", "--checkpoint", weights, "--out", tmp_path / "out"],
        ["export", "--checkpoint", weights, "--out", tmp_path / "b", "--no-onnx", *size],
        ["export", "--checkpoint", tmp_path / "b/student.safetensors", "--hub", tmp_path / "c"],
        [
            *("run", "--method", "dualkd", "--scenario", "gta2cs", "--dry-run", *QUICK),
            *("--teacher-checkpoint", tmp_path / "b/student.safetensors"),
        ],
    ):
        zoo.CONFIGS.clear()
        outcome = bench(*arguments)
        assert outcome.code == 0, outcome.err
        assert own in outcome.out
    zoo.CONFIGS.clear()
    monkeypatch.chdir(tmp_path / "c")
    use = Path("README.md").read_text().partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(use, names)
    assert names["network"].name == own


@pytest.mark.slow
def test_bench_speed_calls_a_network_of_a_config_file_by_its_name_and_not_by_the_path(tmp_path):
    """In this process and in the worker's, from any folder."""
    path = write_config(tmp_path / "folder")
    (case,) = cross(["dualkd"], "tiny", [path], [path])
    assert case.student == case.teacher
    assert case.student.startswith("mmseg:tiny.py@")
    assert str(tmp_path) not in case.name
    shutil.rmtree(tmp_path / "folder")
    worker = Worker(case, ROOT, SpeedOptions(device="cpu"), tmp_path)
    try:
        assert worker.ask("build")["images"] > 0
    finally:
        worker.close()
