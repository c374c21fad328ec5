"""What names a run and its weights: everything that can change a figure, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from real_formats import write_camvid

from harness.config.planning import Request, resolve
from harness.config.schema import RunSpec
from harness.files import content_hash


def spec(method="daformer", scenario="gta2cs", root=None, **options) -> RunSpec:
    request = Request(method=method, scenario=scenario, profile="tiny", **options)
    return resolve(request, root).spec


def test_the_same_request_has_the_same_name_in_every_process():
    code = (
        "from harness.config.planning import Request, resolve;"
        "print(resolve(Request(method='daformer', scenario='gta2cs', profile='tiny')).spec.run_id)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**__import__("os").environ, "PYTHONHASHSEED": "1"},
    )  # fmt: skip
    assert other.stdout.strip() == spec().run_id
    assert len(spec().run_id) == 10


@pytest.mark.parametrize(
    "options",
    [
        {"method": "dualkd"},
        {"scenario": "synthia2cs"},
        {"seed": 1},
        {"student": "mini_xs"},
        {"overrides": ("lr=0.5",)},
        {"overrides": ("ema_alpha=0.5",)},
        {"overrides": ("crop=48,64",)},
        {"overrides": ("precision=bf16",)},
        {"overrides": ("generated.source=5",)},
        {"overrides": ("image_size.cityscapes=[96,48]",)},
        {"overrides": ("accumulation=2",)},
        {"overrides": ("convention=ignored16",)},
    ],
    ids=str,
)
def test_whatever_can_change_a_figure_changes_the_name(options):
    assert spec(**options).run_id != spec().run_id


@pytest.mark.parametrize("override", ["workers=3", "log_every=7", "teacher_iterations=5"])
def test_what_cannot_leaves_it(override):
    assert spec(overrides=(override,)).run_id == spec().run_id


def test_a_teachers_schedule_counts_where_there_is_a_teacher():
    assert spec("dualkd", overrides=("teacher_iterations=5",)).run_id != spec("dualkd").run_id


def test_other_teachers_are_other_runs():
    ids = {
        spec("dualkd", teacher=t, student="mini_s").run_id
        for t in (None, "mini_m", "mini_l", "test_mit")
    }
    assert len(ids) == 3, "mini_m is the default for mini_s: the same run, named or not"


def test_source_only_weights_serve_every_target(tmp_path):
    write_camvid(tmp_path, 2)
    city, camvid = spec("source_only"), spec("source_only", "gta2camvid", tmp_path)
    assert city.weights_id == camvid.weights_id
    assert city.run_id != camvid.run_id


def test_the_size_of_target_images_does_not_touch_source_only_weights():
    other = spec("source_only", overrides=("image_size.cityscapes=[96,48]", "generated.val=3"))
    assert other.weights_id == spec("source_only").weights_id
    assert other.run_id != spec("source_only").run_id


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"student": "mini_xs"},
        {"scenario": "synthia2cs"},
        {"overrides": ("iterations=5",)},
        {"overrides": ("image_size.gta5=[96,48]",)},
        {"overrides": ("generated.source=5",)},
    ],
    ids=str,
)
def test_other_source_only_weights_have_other_names(options):
    assert spec("source_only", **options).weights_id != spec("source_only").weights_id


@pytest.mark.parametrize("method", ["daformer", "dualkd", "oracle"])
def test_weights_of_a_method_that_sees_the_target_depend_on_it(method):
    assert spec(method, overrides=("generated.target=5",)).weights_id != spec(method).weights_id


@pytest.mark.parametrize("method", ["daformer", "source_only"])
@pytest.mark.parametrize(
    "override",
    [
        *("slide=32,32,16,16", "tta_flip=true", "tta_scales=0.75,1", "tta_scales=0.5,1,1.5"),
        "metrics=boundary_iou",
    ],
)
def test_how_images_are_scored_changes_figures_but_no_weights(method, override):
    plain, other = spec(method), spec(method, overrides=(override,))
    assert other.weights_id == plain.weights_id
    assert other.run_id != plain.run_id


def test_weights_of_different_methods_never_share_a_name():
    ids = [spec(m).weights_id for m in ("source_only", "daformer", "dualkd", "oracle")]
    assert len(set(ids)) == 4


def test_a_spec_survives_json():
    first = spec("dualkd", overrides=("stages=2,3",))
    again = RunSpec.model_validate(json.loads(first.model_dump_json()))
    assert again == first
    assert (again.run_id, again.weights_id) == (first.run_id, first.weights_id)


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash({"b": [2, 1], "a": 1}) != content_hash({"b": [1, 2], "a": 1})
