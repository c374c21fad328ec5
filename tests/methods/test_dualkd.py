"""Distillation from two teachers: who is taught, by whom, where and how much."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from toy_student import blocky_batch, terms

from methods.contract import Batch, TeacherSpec
from methods.dualkd import DualKD
from methods.networks.zoo import build
from methods.parts.distillation import distill
from methods.testing.tools import THINGS


@pytest.fixture
def batch() -> Batch:
    return blocky_batch(64, 96, ignored_rows=4)


#: Worked out by hand below, whatever the defaults are.
PLAIN = {
    "stages": ["4"],
    "distance": "l2",
    "images": ["source", "mixed"],
    "warm_target": False,
    "lambda_kd": 1.0,
    "ignore_top": 2,
    "ignore_bottom": 8,
}


def method(teacher: str = "test_deeplab", iterations: int = 10, **config: object) -> DualKD:
    torch.manual_seed(0)
    cfg = DualKD.Config.model_validate(PLAIN | config)
    return DualKD(
        cfg, build("test_mit"), [build(teacher)], iterations=iterations, things=THINGS
    ).train()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"kd_source", "kd_mixed"}),
        ({"images": ["target"]}, {"kd_target"}),
        ({"images": ["source", "target", "mixed"]}, {"kd_source", "kd_target", "kd_mixed"}),
        ({"images": []}, set()),
    ],
)
def test_images_choose_the_terms(batch, config, expected):
    by_name = terms(method(**config), batch)
    assert by_name.keys() == {"source", "mixed", "log/pseudo_weight"} | expected
    assert all(value.isfinite() for value in by_name.values())


def test_before_mixing_the_target_can_take_its_place(batch):
    model = method(mix_start=0.5, warm_target=True)
    assert terms(model, batch, 4).keys() == {"source", "kd_source", "kd_target"}
    assert terms(model, batch, 5).keys() >= {"mixed", "kd_source", "kd_mixed"}
    assert "kd_target" not in terms(model, batch, 5)


def test_gradients_reach_the_student_and_its_projections_only(batch):
    model = method(stages=["1", "4", "fused"], projection="conv")
    frozen = {name: value.clone() for name, value in model.frozen.state_dict().items()}
    for group in model.losses(batch, 0):
        (kd,) = (value for name, value in group.items() if name.startswith("kd_"))
        kd.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(("frozen.", "ema.")):
            assert not parameter.requires_grad
            assert parameter.grad is None, name
        elif not name.startswith("student.head.conv_seg"):  # no map comes after the classifier
            assert parameter.grad is not None, name
    for name in ("student.encoder.patch_embed1.proj.weight", "projections.2.weight"):
        assert model.get_parameter(name).grad.abs().sum() > 0
    after = model.frozen.state_dict()
    assert all(torch.equal(after[name], value) for name, value in frozen.items())


def test_projection_is_the_identity_for_a_teacher_of_the_same_width(batch):
    model = method("test_mit")
    assert not list(model.projections.parameters())
    # Teacher and student alike, without dropout and drop-path: nothing to teach on the source.
    model.frozen.network.load_state_dict(model.student.state_dict())
    model.student.eval()
    assert terms(model, batch)["kd_source"].abs() < 1e-5


def test_a_teacher_of_another_stride_teaches_on_the_students_grid(batch):
    model = method(lambda_kd=3)
    output, frozen = model.student(batch.source_image), model.frozen(batch.source_image)
    student, teacher = output.features[-1], frozen.features[-1]
    assert student.shape == (2, 32, 2, 3)  # stride 32
    assert teacher.shape == (2, 16, 8, 12)  # stride 8
    loss = model.distillation(batch.source_image, output, batch.source_label, 0)
    (projection,) = model.projections
    expected = 3 * distill(projection(student), teacher, "l2", True)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_several_stages_are_averaged_and_the_mask_keeps_things(batch):
    model = method("test_mit", stages=["3", "4"], pixel_mask="things", normalise=False)
    output = model.student(batch.source_image)

    def distance(label: torch.Tensor) -> float:
        return model.distillation(batch.source_image, output, label, 0).item()

    frozen = model.frozen(batch.source_image)
    stages = [
        distill(s, t, "l2", False)
        for s, t in zip(output.features[2:], frozen.features[2:], strict=True)
    ]
    all_things = torch.full_like(batch.source_label, 13)
    assert distance(all_things) == pytest.approx(torch.stack(stages).mean().item(), rel=1e-5)
    assert distance(torch.zeros_like(batch.source_label)) == 0


def test_lambda_ramps_up_and_stays(batch):
    model = method(lambda_kd=2, kd_warmup=0.4, iterations=10).eval()
    output = model.student(batch.source_image)
    weights = [
        model.distillation(batch.source_image, output, batch.source_label, step).item()
        for step in range(6)
    ]
    assert [value / weights[-1] for value in weights] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    at_once = method(lambda_kd=2, iterations=10).eval()
    value = at_once.distillation(batch.source_image, output, batch.source_label, 0).item()
    assert value == pytest.approx(weights[-1])


def test_projections_have_a_rate_of_their_own():
    model = method(projection_lr_factor=5)
    groups = model.param_groups(lr=1, weight_decay=0.1, head_lr_factor=10)
    projections = {id(p) for p in model.projections.parameters()}
    assert {id(p) for p in groups[-1]["params"]} == projections
    assert groups[-1]["lr"] == 5
    every = [id(p) for group in groups for p in group["params"]]
    assert len(every) == len(set(every))
    assert set(every) == {id(p) for p in model.parameters() if p.requires_grad}


def test_the_teacher_is_one_size_up_unless_named():
    default = DualKD.frozen_teachers(DualKD.Config(), "mini_s")
    assert default == [TeacherSpec("mini_m")]
    named = DualKD.Config(teacher="mini_l", teacher_checkpoint="weights.safetensors")
    teachers = DualKD.frozen_teachers(named, "mini_s")
    assert teachers == [TeacherSpec("mini_l", "weights.safetensors")]


@pytest.mark.parametrize("config", [{"distance": "l1"}, {"stages": ["5"]}, {"lambda_kd": -1}])
def test_unknown_choices_are_refused(config):
    with pytest.raises(ValidationError):
        method(**config)


def test_cosine_and_smooth_l1_are_weighed_as_in_vfm_uda():
    """Of one pixel: vectors at a right angle, their difference of 3 and 0.5 in two channels."""
    student, teacher = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.5])
    maps = [x.view(1, 2, 1, 1) for x in (student, teacher)]
    loss = distill(*maps, "cosine+smooth_l1", normalise=False)
    smooth_l1 = (3 - 0.5 + 0.5**2 / 2) / 2
    torch.testing.assert_close(loss, torch.tensor(0.9 + 0.1 * smooth_l1))


def test_the_mlp_projects_through_four_times_the_width(batch):
    model = method(projection="mlp")
    (first, norm, _, last) = model.projections[0]
    assert (first.in_channels, first.out_channels) == (32, 128)
    assert norm.normalized_shape == (128,)
    assert last.out_channels == model.frozen.network.feature_channels[3]
    assert terms(model, batch)["kd_source"].isfinite()


def test_a_teacher_sees_images_at_a_size_of_its_own(batch):
    seen = []
    model = method(teacher_size=32)
    model.frozen.network.encoder.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape))
    terms(model, batch)
    assert set(seen) == {(2, 3, 32, 48)}


def test_a_teacher_that_never_learned_has_no_head(batch):
    model = method(teacher_training="none")
    assert not list(model.frozen.network.head.parameters())
    assert terms(model, batch)["kd_source"] > 0
    assert DualKD.frozen_teachers(model.config, "test_mit")[0].trained is False
    for change, reason in (
        ({"stages": ["fused"]}, "no head that learned"),
        ({"teacher_checkpoint": "x.pth"}, "not --teacher-checkpoint"),
    ):
        config = DualKD.Config.model_validate(PLAIN | {"teacher_training": "none"} | change)
        with pytest.raises(ValueError, match=reason):
            DualKD.frozen_teachers(config, "test_mit")


def test_a_teacher_of_the_targets_norms_is_trained_by_adabn():
    config = DualKD.Config(teacher_training="adabn")
    assert DualKD.frozen_teachers(config, "mini_s") == [TeacherSpec("mini_m", method="adabn")]
    given = DualKD.Config(teacher_training="adabn", teacher_checkpoint="x.pth")
    with pytest.raises(ValueError, match="expected no --teacher-checkpoint"):
        DualKD.frozen_teachers(given, "mini_s")


def test_a_stage_that_a_network_has_not_is_named():
    with pytest.raises(ValueError, match=r"stage 4 of timm:test_vit:linear:last, .* gives 1 maps"):
        method("timm:test_vit:linear:last")
