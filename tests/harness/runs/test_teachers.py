"""A frozen teacher that is no source-only run: an encoder as published, or of another method."""

from __future__ import annotations

import pytest
import torch
from bench_cli import QUICK, bench, refused
from cityscapes import CITYSCAPES
from rich.console import Console
from safetensors.torch import load_file

from harness.config.planning import Teacher
from harness.files import file_hash
from harness.records import store
from harness.report.progress import Reporter
from harness.runs.teachers import frozen_teacher
from harness.runs.workplace import Workplace
from methods import registry
from methods.contract import TeacherSpec
from methods.dualkd import DualKD
from methods.networks import zoo
from methods.networks.weights import save_weights

FOUNDATION = [
    "run", "--method", "dualkd", "--scenario", "gta2cs", *QUICK, "--teacher", "test_deeplab",
    "--set", "teacher_training=none", "--set", "stages=4", "--set", "projection=mlp",
    "--set", "distance=cosine+smooth_l1", "--set", "teacher_size=48", "--set", "normalise=false",
    "--set", "images=source,target", "--set", "lambda_kd=0.1",
]  # fmt: skip


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(3)
    save_weights(zoo.build("test_deeplab"), tmp_path / "encoder.safetensors", {})
    return tmp_path / "encoder.safetensors"


def test_an_encoder_that_never_learned_on_the_source_teaches(weights, tmp_path):
    results = tmp_path / "results"
    done = bench(*FOUNDATION, "--teacher-init", weights, "--results", results)
    assert done.code == 0, done.err
    (record,) = store.read_all(results / "records")
    assert record.spec.teachers == [
        {"network": "test_deeplab", "init": file_hash(weights), "init_file": weights.name}
    ]
    (teacher,) = record.cost.teachers
    assert (teacher.checkpoint, teacher.weights_id, teacher.training) == (weights.name, None, None)
    assert record.metrics.losses["kd_source"][0] > 0
    assert record.metrics.losses["kd_target"][0] > 0


def test_its_weights_are_the_files_and_its_head_is_the_same_every_time(weights, tmp_path):
    workplace = Workplace(tmp_path, torch.device("cpu"), Reporter(Console()))
    teacher = Teacher("test_deeplab", init=weights)
    first, second = (
        frozen_teacher(teacher, CITYSCAPES, workplace)[0].state_dict() for _ in range(2)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    torch.manual_seed(3)
    published = zoo.build("test_deeplab").state_dict()
    assert all(torch.equal(first[n], v) for n, v in published.items() if n.startswith("encoder."))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([], "is not trained here, and starts from no weights; expected its published ones"),
        (["--set", "stages=fused"], "has no head that learned; expected stages of encoders"),
    ],
)
def test_what_it_cannot_be(changes, reason, tmp_path):
    assert reason in refused(bench(*FOUNDATION, *changes, "--results", tmp_path))


TEACHERS = ["run", "--method", "dualkd", "--scenario", "gta2cs", *QUICK, "--teacher", "mini_xs"]


def test_a_teacher_with_the_targets_norms_has_the_weights_of_one_without(tmp_path):
    """`statistics_steps` is longer than the schedule: none of its norms keeps a source image."""
    done = bench(*TEACHERS, "--set", "teacher_training=adabn", "--results", tmp_path / "target")
    assert done.code == 0, done.err
    assert "frozen teacher mini_xs: trained on the source and the target first" in done.out
    assert bench(*TEACHERS, "--results", tmp_path / "source").code == 0
    source, target = (
        next(r for r in store.read_all(tmp_path / name / "records") if r.spec.method == "dualkd")
        for name in ("source", "target")
    )
    assert source.run_id != target.run_id
    kept = []
    for name, record in (("source", source), ("target", target)):
        (reference,) = record.spec.teachers
        assert record.cost.teachers[0].weights_id == reference["weights_id"]
        folder = tmp_path / name / "artifacts" / reference["weights_id"]
        kept.append(load_file(folder / "student.safetensors"))
    without, with_target = kept
    moved = {name for name, value in without.items() if not value.equal(with_target[name])}
    assert moved
    assert all("running_" in name for name in moved)
    losses = [record.metrics.losses["kd_target"] for record in (source, target)]
    assert losses[0] != losses[1]


class OwnTeacher(DualKD):
    trainer = "own_teacher"

    @classmethod
    def frozen_teachers(cls, config, student):
        return [TeacherSpec(student, method=cls.trainer)]


class OthersTeacher(OwnTeacher):
    trainer = "dualkd"


@pytest.mark.parametrize("kind", [OwnTeacher, OthersTeacher])
def test_a_method_that_needs_a_teacher_itself_trains_none(tmp_path, monkeypatch, kind):
    """One that asks for its own, or two for one another's, would have no end."""
    monkeypatch.setitem(registry.BUILT_IN, "asking", f"{__name__}:{kind.__name__}")
    monkeypatch.setitem(registry.BUILT_IN, "own_teacher", f"{__name__}:OwnTeacher")
    options = ["--method", "asking", "--scenario", "gta2cs", *QUICK, "--results", tmp_path]
    line = refused(bench("run", *options))
    assert f"method asking: {kind.trainer} is to train its frozen teacher, and asks for one" in line
