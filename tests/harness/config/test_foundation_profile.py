"""Profile `vfm` and its suites: what VFM-UDA and VFM-UDA++ publish, and that their runs can be."""

from __future__ import annotations

import pytest
import torch

from harness.config import catalogue, start_weights
from harness.config.planning import Request, resolve
from harness.config.suites import requests
from harness.runs.memory_estimate import gpu_memory
from methods.networks import zoo


def test_an_encoder_is_fine_tuned_as_vfm_uda_does():
    plan = resolve(Request(method="source_only", scenario="gta2cs", profile="vfm"))
    profile = plan.spec.profile
    assert plan.spec.student == "timm:vit_base_patch14_dinov2.lvd142m:upsample"
    assert (profile.lr, profile.head_lr_factor, profile.encoder_lr_factor) == (1e-4, 1.0, 0.1)
    assert (profile.layer_decay, profile.weight_decay, profile.warmup) == (0.9, 0.01, 1500)
    assert (profile.iterations, profile.batch_size * profile.accumulation) == (40000, 8)
    assert (profile.precision, profile.crop) == ("bf16", (1024, 1024))
    assert profile.slide == (1024, 1024, 512, 512)


@pytest.mark.parametrize("suite", ["foundation_students", "foundation_teacher"])
def test_source_only_stands_beside_every_method(suite):
    made = catalogue.suite(suite)
    assert made.profile == "vfm"
    assert made.methods[0] == "source_only"


def test_a_foundation_teacher_has_the_constants_of_vfm_uda_plus_plus(tmp_path, monkeypatch):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"any")
    monkeypatch.setattr("harness.config.planning.located", lambda *_: weights)
    monkeypatch.setattr(start_weights, "_check_content", lambda *_: None)  # it fits: elsewhere
    asked = requests(catalogue.suite("foundation_teacher"))
    plan = resolve(next(request for request in asked if request.method == "dualkd"))
    knobs = plan.config
    assert (knobs.distance, knobs.projection, knobs.normalise) == ("cosine+smooth_l1", "mlp", False)
    assert (knobs.lambda_kd, knobs.images, knobs.stages) == (0.1, ("source", "target"), ("4",))
    assert (knobs.teacher_size, knobs.teacher_training) == (406, "none")
    (teacher,) = plan.teachers
    assert teacher.plan is None  # it is not trained
    with torch.device("meta"):
        network = zoo.build(teacher.network)
    assert network.feature_channels == [1024] * 4


@pytest.mark.parametrize(("method", "gib"), [("source_only", 8), ("dualkd", 10)])
def test_a_dry_run_says_what_the_page_does(method, gib):
    plan = resolve(Request(method=method, scenario="gta2cs", profile="vfm"))
    verdict = gpu_memory(plan, torch.device("cpu"), None, 2)
    assert verdict.startswith("needs about ")
    assert float(verdict.split()[2]) == pytest.approx(gib, abs=0.5)
