"""CLDA: which layers are least salient, what they take over, and what is distilled back."""

from __future__ import annotations

from math import log

import pytest
import torch
from bench_cli import QUICK, bench, refused
from torch import Tensor, nn
from toy_student import Toy

from methods import registry
from methods.clda import CLDA, least, saliency_rates, shared_layers, take_over
from methods.contract import Batch
from methods.networks.zoo import build

PLAIN = {"ignore_top": 0, "ignore_bottom": 0, "lambda_fd": 0}


def parameter(*values: float, grad: tuple[float, ...] | None = None) -> nn.Parameter:
    made = nn.Parameter(torch.tensor(values, dtype=torch.float32))
    made.grad = None if grad is None else torch.tensor(grad, dtype=torch.float32)
    return made


def pair(teacher: str, student: str = "test_mit", **config: object) -> CLDA:
    torch.manual_seed(0)
    cfg = CLDA.Config.model_validate({**PLAIN, "collaborate_start": 0, **config})
    return CLDA(cfg, build(student), companions=[build(teacher)], iterations=4).train()


def terms(method: CLDA, batch: Batch, step: int = 0) -> dict[str, Tensor]:
    return {name: value for group in method.losses(batch, step) for name, value in group.items()}


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randn(2, 2, 3, 32, 64, generator=generator)
    label = torch.randint(0, 19, (2, 4, 8), generator=generator)
    return Batch(source, label.repeat_interleave(8, 1).repeat_interleave(8, 2), target)


def test_a_layers_rate_is_its_share_of_salient_parameters():
    """|w * g| is 2 0 0 0 | 1 3 | 0 0: the mean is 3/4, twice the mean 3/2."""
    layers = [
        [(parameter(2, 1, 1, 0, grad=(-1, 0, 0, 5)), parameter(0))],
        [(parameter(-1, grad=(1,)), parameter(0)), (parameter(3, grad=(1,)), parameter(0))],
        [(parameter(7, 7), parameter(0))],  # no gradient: without influence
    ]
    assert saliency_rates(layers, 1.0).tolist() == [0.25, 1, 0]
    assert saliency_rates(layers, 2.0).tolist() == [0.25, 0.5, 0]
    for layer in layers:  # the loss's scale does not matter
        for theirs, _ in layer:
            theirs.grad = None if theirs.grad is None else theirs.grad * 1024
    assert saliency_rates(layers, 2.0).tolist() == [0.25, 0.5, 0]


def test_the_least_salient_share_of_the_layers():
    rates = torch.tensor([0.5, 0.1, 0.3, 0.1, 0.9])
    assert least(rates, 0.2) == [1]
    assert least(rates, 0.5) == [1, 3]  # 2.5 rounds to 2
    assert least(rates, 0.6) == [1, 3, 2]
    assert least(rates, 0) == [1]


def test_a_layer_moves_towards_the_students_in_its_first_channels():
    theirs = nn.Parameter(torch.zeros(3, 2, 1, 1))
    mine = nn.Parameter(torch.ones(2, 1, 1, 1))
    take_over([(theirs, mine)], 0.25)
    assert theirs.flatten().tolist() == [0.25, 0, 0.25, 0, 0, 0]
    assert (mine == 1).all()
    assert theirs.requires_grad


def test_layers_correspond_by_name_and_size():
    student = build("test_mit")
    same = shared_layers(student, build("test_mit"), "equal")
    parameters = [p for layer in same.values() for p, _ in layer]
    assert len(parameters) == len(list(student.parameters()))
    assert [p.shape for p, _ in same["head.smooth.0.conv"]] == [(16, 1, 3, 3)]

    wider = build("mini_xs")
    assert shared_layers(student, wider, "equal").keys() == {"head.conv_seg"}
    leading = shared_layers(student, wider, "leading")
    assert leading.keys() == same.keys()
    theirs, mine = leading["encoder.patch_embed1.proj"][0]
    assert (theirs.shape, mine.shape) == ((16, 3, 7, 7), (8, 3, 7, 7))
    # A teacher that is narrower has no room.
    assert "encoder.patch_embed1.proj" not in shared_layers(wider, student, "leading")

    deeper = shared_layers(build("mini_s"), build("mini_m"), "leading")  # one block more
    assert "encoder.block3.0.norm1" in deeper
    assert "encoder.block3.1.norm1" not in deeper


def test_networks_without_a_common_layer_are_refused(tmp_path):
    with pytest.raises(ValueError, match="test_deeplab can take parameters of the student test"):
        pair("test_deeplab")
    line = refused(
        bench(
            "run", "--method", "clda", "--scenario", "gta2cs", "--teacher", "test_deeplab",
            *QUICK, "--results", tmp_path, "--dry-run",
        )
    )  # fmt: skip
    assert "no layer of the teacher test_deeplab" in line
    assert "--teacher" in line


def test_after_a_step_the_least_salient_layers_alone_have_moved():
    method = pair("test_mit", exchange_share=0.1, exchange_alpha=0.75)
    count = len(method.layers)
    method.saliency.copy_(torch.arange(count).flip(0))  # the last are the least
    before = [[theirs.clone() for theirs, _ in layer] for layer in method.layers]
    method.after_step(0)
    first = count - round(0.1 * count)
    for index, (layer, old) in enumerate(zip(method.layers, before, strict=True)):
        for (theirs, mine), was in zip(layer, old, strict=True):
            expected = 0.75 * was + 0.25 * mine if index >= first else was
            assert torch.allclose(theirs, expected, atol=1e-6)


def test_before_they_collaborate_nothing_is_exchanged_or_distilled(batch):
    method = pair("test_mit", collaborate_start=0.5, mix_start=0.25)
    teacher = method.large_networks[0]
    before = [p.clone() for p in teacher.parameters()]
    for step in (0, 1):
        assert "collaborative_kl" not in terms(method, batch, step)
        method.after_step(step)
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert "collaborative_kl" in terms(method, batch, 2)
    method.after_step(2)
    assert not all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert "collaborative_kl" not in terms(pair("test_mit", mix_start=0.5), batch, 1)


def test_saliency_is_that_of_the_teachers_mixed_image(batch):
    """Not of its source image, whose gradient joins in the same step."""
    method = pair("test_mit", saliency_alpha=0.5, lambda_kd=0)
    for group in method.losses(batch, 0):
        torch.stack([v for k, v in group.items() if not k.startswith("log/")]).sum().backward()
        if "large1_mixed" in group:
            rates = saliency_rates(method.layers, 1.0)
        if "large1_source" in group:
            assert not torch.equal(saliency_rates(method.layers, 1.0), rates)
    assert rates.max() > rates.min()
    assert torch.allclose(method.saliency, 0.5 * rates)
    assert "saliency" in method.state_dict()


def test_saliency_is_that_of_the_last_batch_where_a_step_accumulates_several(batch):
    """With the first batch's gradient in it, the rates would be others."""

    def learn(method: CLDA, batch: Batch) -> None:
        torch.manual_seed(3)
        method.generator.manual_seed(3)
        method.saliency.zero_()
        for group in method.losses(batch, 0):
            torch.stack([v for k, v in group.items() if not k.startswith("log/")]).sum().backward()

    further = Batch(batch.target_image, batch.source_label.roll(1, 0), batch.source_image)
    alone, both = (pair("test_mit", saliency_alpha=0, lambda_kd=0) for _ in range(2))
    learn(alone, further)
    learn(both, batch)
    learn(both, further)
    assert torch.allclose(both.saliency, alone.saliency, atol=0.01)
    summed = saliency_rates(both.layers, 1.0)
    assert (summed - alone.saliency).abs().max() > 0.05


@pytest.mark.parametrize("name", ["clda", "duda", "clda+hrda"])
def test_the_large_teacher_sees_a_target_once(batch, name):
    kind = registry.load(name)
    starts = {"collaborate_start": 0, "finetune_start": 0, "large_rests": False}
    cfg = kind.Config(**PLAIN, **{k: v for k, v in starts.items() if k in kind.Config.model_fields})
    method = kind(cfg, build("test_mit"), companions=[build("test_mit")], iterations=4).train()
    seen = []
    method.ema.network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    for count in (1, 2):  # a second batch of the step is seen anew, whatever tensor it is in
        assert {"collaborative_kl", "inconsistency_kl"} & terms(method, batch).keys()
        assert len(seen) == count
    counts = [m.num_batches_tracked for m in method.ema.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(count) for count in counts} == {2}


def test_the_distillation_by_hand():
    """Student (3/4, 1/4), teacher (9/10, 1/10) at every pixel."""
    cfg = CLDA.Config.model_validate({**PLAIN, "collaborate_start": 0, "lambda_kd": 0.5})
    method = CLDA(cfg, Toy(log(3)), companions=[Toy(log(9))])
    image = torch.ones(2, 3, 4, 4)
    term = terms(method, Batch(image, torch.zeros(2, 4, 4).long(), image))["collaborative_kl"]
    expected = 0.9 * log(0.9 / 0.75) + 0.1 * log(0.1 / 0.25)
    assert term.item() == pytest.approx(0.5 * expected, rel=1e-5)
    term.backward()
    assert method.student.slope.grad is not None
    assert method.large_networks[0].slope.grad is None


def test_a_run_of_it_ends_well(tmp_path):
    outcome = bench(
        "run", "--method", "clda", "--scenario", "gta2cs", *QUICK, "--results", tmp_path,
        "--set", "widths=leading",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "clda" in outcome.out
