"""A student that its method makes more of: recorded, kept, scored again and written out."""

from __future__ import annotations

import json

import pytest
from bench_cli import IMAGES, QUICK, bench

from harness.config.network_files import configs, pinned
from harness.config.planning import Request, resolve
from harness.measure.flops import gflops, parameters_m
from harness.records import store
from methods.networks import zoo
from methods.networks.weights import read_metadata


def test_a_run_and_its_weights(tmp_path):
    run = ["run", "--method", "hrda", "--scenario", "gta2cs", "--set", "mix_start=0.25", *QUICK]
    outcome = bench(*run, "--results", tmp_path)
    assert outcome.code == 0, outcome.err
    (record,) = store.read_all(tmp_path / "records")
    assert record.spec.student == "test_mit"
    assert "mixed" in record.metrics.losses
    network = zoo.build("hrda:test_mit")
    width, height = IMAGES["cityscapes"]
    assert record.cost.parameters_m == pytest.approx(parameters_m(network))
    assert record.cost.gflops == pytest.approx(gflops(network, (height, width)))
    assert record.cost.gflops > 2 * gflops(zoo.build("test_mit"), (height, width))

    weights = tmp_path / "artifacts" / record.spec.weights_id / "student.safetensors"
    assert read_metadata(weights)["network"] == "hrda:test_mit"
    chosen = ["--checkpoint", record.run_id, "--results", tmp_path]
    scored = bench("eval", *chosen, "--format", "json")
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["network"] == "hrda:test_mit"
    assert json.loads(scored.out)["scores"]["confusion"] == record.metrics.student.confusion

    out = tmp_path / "out"
    written = bench("export", *chosen, "--out", out, "--no-onnx")
    assert written.code == 0, written.err
    card = json.loads((out / "student.json").read_text())
    assert (card["network"], card["head_stride"]) == ("hrda:test_mit", 4)
    assert read_metadata(out / "student.safetensors")["network"] == "hrda:test_mit"


def test_info_tells_of_the_method_and_of_the_network():
    out = " ".join(bench("info", "hrda").out.split())
    assert "ECCV 2022" in out
    assert "lambda_d 0.1" in out
    assert "joins with `+`: dacs, mic, dualkd" in out
    assert "at two scales" in bench("info", "hrda:mini_s").out


def test_papers_resolution_is_a_profile():
    spec = resolve(Request(method="hrda", scenario="gta2cs", profile="paper_hr")).spec
    paper = resolve(Request(method="hrda", scenario="gta2cs", profile="paper")).spec
    for name in ("gta5", "synthia", "cityscapes"):
        full, half = (s.profile.image_size[name] for s in (spec, paper))
        assert full == tuple(2 * side for side in half)
    assert spec.profile.crop == (1024, 1024)
    assert spec.profile.slide == (1024, 1024, 512, 512)
    assert spec.profile.rcs_min_crop_ratio == 4 * paper.profile.rcs_min_crop_ratio
    assert (spec.method_config["ignore_top"], spec.method_config["ignore_bottom"]) == (30, 240)
    assert spec.method_config["lambda_d"] == 0.1


def test_a_users_network_at_two_scales_is_named_by_its_content(tmp_path, monkeypatch):
    config = tmp_path / "tiny.py"
    model = "type='EncoderDecoder', backbone=dict(type='A'), decode_head=dict(type='B')"
    config.write_text(f"model = dict({model})")
    monkeypatch.setattr(zoo, "CONFIGS", {})
    own = pinned(f"mmseg:{config}")
    assert pinned(f"hrda:mmseg:{config}") == f"hrda:{own}"
    assert configs([f"hrda:{own}"]) == {own: zoo.CONFIGS[own]}
