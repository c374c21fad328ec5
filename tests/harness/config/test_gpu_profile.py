"""Profile `small`: made for a GPU, it must at least train anywhere; and what `paper` gives whom."""

from __future__ import annotations

import pytest
import torch
from bench_cli import QUICK, bench, refused

from harness.config import start_weights
from harness.config.planning import Plan, Request, resolve
from harness.data.sources import GENERATED
from harness.records import store
from methods import registry
from methods.networks import zoo


def plan(profile: str, method: str = "dualkd", **options) -> Plan:
    return resolve(Request(method=method, scenario="gta2cs", profile=profile, **options))


def test_small_trains_teacher_and_student_microscopically(tmp_path):
    run = ["run", "--method", "dualkd", "--scenario", "gta2cs", "--profile", "small", *QUICK]
    outcome = bench(*run, "--teacher", "test_mit", "--results", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "random weights" not in outcome.out
    made = {r.spec.method: r for r in store.read_all(tmp_path / "records")}
    assert made["dualkd"].spec.profile.precision == "bf16"
    # Mixing starts within the four steps, and distillation is on from the first.
    assert {"kd_target", "mixed"} <= made["dualkd"].metrics.losses.keys()


def test_small_has_real_widths_and_a_size_for_every_generated_set():
    planned = plan("small")
    assert planned.spec.student == "daformer_mitb1"
    assert planned.teachers[0].network == "daformer_mitb2"
    assert planned.spec.profile.image_size["cityscapes"] == (512, 256)
    for name in GENERATED:
        scenario = {"acdc": "cs2acdc", "darkzurich": "cs2darkzurich", "synthia": "synthia2cs"}
        assert resolve(Request(method="daformer", scenario=scenario.get(name, "gta2cs"),
                               profile="small"))  # fmt: skip


@pytest.mark.parametrize("student", ["daformer_mitb5", "deeplabv2_r101"])
def test_paper_trains_deeplab_as_the_reference_does(student):
    """The reference's one AdamW serves both encoders; only norms named `norm` do not decay."""
    planned = plan("paper", student=student)
    settings = planned.spec.profile
    assert (settings.optimiser, settings.lr, settings.head_lr_factor) == ("adamw", 6e-5, 10)
    assert (settings.warmup, settings.power, settings.weight_decay) == (1500, 1, 0.01)
    assert planned.teachers[0].network == "daformer_mitb5"
    if "deeplab" in student:
        with torch.device("meta"):
            network = zoo.build(student, head_dilations=(6, 12))
        method = registry.load("source_only")
        groups = method(method.Config(), network).param_groups(6e-5, 0.01, 10.0)
        assert [(group["lr"], group["weight_decay"]) for group in groups] == [
            (6e-5, 0.01),
            (pytest.approx(6e-4), 0.01),
        ]


def test_paper_trains_deeplab_by_older_papers_settings_when_told():
    settings = ("optimiser=sgd", "lr=2.5e-4", "weight_decay=5e-4", "power=0.9", "warmup=0")
    profile = plan("paper", student="deeplabv2_r101", overrides=settings).spec.profile
    assert (profile.optimiser, profile.lr, profile.power) == ("sgd", 2.5e-4, 0.9)


@pytest.mark.parametrize(
    ("student", "file"),
    [
        ("daformer_mitb0", "mit_b0.pth"),
        ("segformer_mitb3", "nvidia/mit-b3"),
        ("deeplabv2_r101", "resnet101_v1c-e67eebb6.pth"),
        ("deeplabv2_r50", "timm/resnet50c"),
        ("timm:convnext_atto", "timm/convnext_atto.*"),
        ("mini_s", "none known"),
    ],
)
def test_paper_names_the_file_that_each_student_starts_from(student, file, tmp_path, monkeypatch):
    monkeypatch.setattr(start_weights, "check_init", lambda *_: None)  # whether it fits: elsewhere
    planned = plan("paper", "daformer", student=student)
    assert student in planned.missing_init
    assert file in planned.missing_init
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"any")
    given = plan("paper", "daformer", student=student, init=str(weights))
    assert given.missing_init == ""
    assert plan("small", "daformer", student=student).missing_init == ""


def test_the_teachers_file_is_named_too_and_can_be_given(tmp_path, monkeypatch):
    monkeypatch.setattr(start_weights, "check_init", lambda *_: None)  # whether it fits: elsewhere
    planned = plan("paper", student="deeplabv2_r101").teachers[0].plan
    assert "mit_b5.pth" in planned.missing_init
    assert "--teacher-init" in planned.missing_init
    files = {name: tmp_path / name for name in ("resnet.pth", "mit.pth")}
    for name, file in files.items():
        file.write_bytes(name.encode())
    both = plan("paper", student="deeplabv2_r101", init=str(files["resnet.pth"]),
                teacher_init=str(files["mit.pth"]))  # fmt: skip
    teacher = both.teachers[0].plan
    assert teacher.init == files["mit.pth"]
    assert both.spec.teachers[0]["init"] == teacher.spec.init != both.spec.init
    assert teacher.missing_init == both.missing_init == ""


def test_a_missing_init_file_is_refused_with_what_to_get(tmp_path):
    line = refused(
        bench(
            "run", "--method", "daformer", "--scenario", "gta2cs", "--profile", "paper",
            "--init", tmp_path / "mit_b5.pth",
        )
    )  # fmt: skip
    assert "expected a readable checkpoint" in line
    assert "nvidia/mit-b5" in line


def test_the_dry_run_and_info_name_the_files():
    out = bench("run", "--method", "dualkd", "--scenario", "gta2cs", "--profile", "paper",
                "--student", "deeplabv2_r101", "--dry-run").out  # fmt: skip
    assert "resnet101_v1c-e67eebb6.pth" in out
    assert "mit_b5.pth" in out
    assert "resnet101_v1c-e67eebb6.pth" in bench("info", "deeplabv2_r101").out


def test_a_teachers_init_is_refused_where_no_teacher_is_trained(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"any")
    base = ["run", "--scenario", "gta2cs", "--teacher-init", file]
    assert "has no frozen teacher" in refused(bench(*base, "--method", "daformer"))
    both = bench(*base, "--method", "dualkd", "--teacher-checkpoint", file)
    assert "expected one of the two" in refused(both)
