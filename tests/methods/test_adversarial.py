"""AdaptSegNet, ADVENT and MinEnt: their parts by hand, and who learns from what."""

from __future__ import annotations

from math import log

import pytest
import torch
from bench_cli import QUICK, bench
from torch import nn

from harness.records import store
from methods import registry
from methods.contract import Batch
from methods.networks import zoo
from methods.parts.adversarial import SOURCE, TARGET, gan_loss, held_fixed
from methods.parts.discriminator import Discriminator
from methods.parts.entropy import entropy, self_information
from methods.parts.losses import cross_entropy, upsample

PAIR = pytest.mark.parametrize("name", ["adaptsegnet", "advent"])
LEVELS = pytest.mark.parametrize("levels", [1, 2])


def make(name: str, network: str = "test_mit", **knobs):
    method = registry.load(name)
    torch.manual_seed(0)
    return method(method.Config(**knobs), zoo.build(network)).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randn(2, 2, 3, 32, 64, generator=generator)
    return Batch(source, torch.randint(0, 19, (2, 32, 64), generator=generator), target)


def probabilities(*values: float) -> torch.Tensor:
    """Logits (1, C, 1, 1) of those probabilities."""
    return torch.tensor(values).log().view(1, -1, 1, 1)


def test_self_information_by_hand():
    information = self_information(probabilities(0.5, 0.25, 0.25)).flatten()
    expected = [0.5 * log(2) / log(3), *[0.25 * log(4) / log(3)] * 2]
    assert information.tolist() == pytest.approx(expected, rel=1e-6)


def test_entropy_is_one_where_nothing_is_known_and_zero_where_all_is():
    assert entropy(torch.full((2, 19, 3, 5), 7.0)).item() == pytest.approx(1, abs=1e-6)
    sure = torch.zeros(1, 19, 1, 1)
    sure[:, 4] = 1000.0
    sure.requires_grad_()
    entropy(sure).backward()
    assert entropy(sure).item() == 0
    assert torch.isfinite(sure.grad).all()
    half = torch.cat([torch.zeros(1, 19, 1, 1), sure.detach()], 3)
    assert entropy(half).item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("gan", "domain", "expected"),
    [
        ("vanilla", SOURCE, (log(2) + log(4)) / 2),  # -log(1 - sigmoid): 1/2 and 3/4
        ("vanilla", TARGET, (log(2) + log(4 / 3)) / 2),  # -log(sigmoid)
        ("ls", SOURCE, log(3) ** 2 / 2),
        ("ls", TARGET, (1 + (log(3) - 1) ** 2) / 2),
    ],
)
def test_gan_losses_by_hand(gan, domain, expected):
    scores = torch.tensor([0.0, log(3)]).view(1, 1, 1, 2)
    assert gan_loss(scores, domain, gan).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("size", "cells"), [((512, 512), (16, 16)), ((96, 192), (3, 6)), ((24, 70), (1, 2))]
)
def test_the_discriminator_gives_a_score_a_cell(size, cells):
    discriminator = Discriminator(19, width=2)
    assert discriminator(torch.zeros(2, 19, *size)).shape == (2, 1, *cells)


def test_the_discriminator_is_the_papers():
    convolutions = [m for m in Discriminator(19) if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 256, 512, 1]
    assert {(m.kernel_size, m.stride, m.padding) for m in convolutions} == {
        ((4, 4), (2, 2), (1, 1))
    }
    slopes = [m.negative_slope for m in Discriminator(19) if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.2] * 4


def test_held_fixed_lets_gradients_through_and_gives_back_what_it_took():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    network[0].bias.requires_grad_(False)
    x = torch.ones(1, 3, requires_grad=True)
    with held_fixed(network):
        out = network(x).sum()
    out.backward()  # after the block, as the harness does
    assert x.grad is not None
    assert all(p.grad is None for p in network.parameters())
    assert [p.requires_grad for p in network.parameters()] == [True, False, True, True]
    with pytest.raises(ZeroDivisionError), held_fixed(network):
        raise ZeroDivisionError
    assert network[1].weight.requires_grad


@PAIR
@LEVELS
def test_each_side_learns_from_its_own_terms(name, levels):
    method = make(name, levels=levels)
    theirs = list(method.discriminators.parameters())
    learned = {}
    for group in method.losses(batch(), 0):
        method.zero_grad()
        sum(group.values()).backward()
        (kind,) = {term.partition("_")[0] for term in group}
        learned[kind] = [
            any(p.grad is not None for p in side) for side in (method.student.parameters(), theirs)
        ]
        if kind == "discriminator":
            assert all(p.grad is not None for p in theirs)
    assert learned == {
        "source": [True, False], "adversarial": [True, False], "discriminator": [False, True]
    }  # fmt: skip


@PAIR
def test_the_terms_are_the_papers(name):
    """Recomputed from the student's maps, the long way round."""
    method = make(name, levels=2, gan="ls", loss_stride=2).eval()  # no drop-path
    data = batch()
    values = {k: v.item() for group in method.losses(data, 0) for k, v in group.items()}

    def maps(image, level):
        output = method.student(image)
        logits = output.logits if level == "main" else method.auxiliary_head(output.features[:3])[0]
        p = upsample(logits, (32, 64)).softmax(1)
        return p if name == "adaptsegnet" else -p * p.log2() / torch.tensor(19.0).log2()

    expected = {}
    for level, weight in (("main", 0.001), ("auxiliary", 0.0002)):
        discriminator = method.discriminators[level]
        on_source = discriminator(maps(data.source_image, level))
        on_target = discriminator(maps(data.target_image, level))
        expected[f"adversarial_{level}"] = weight * on_target.square().mean()
        expected[f"discriminator_{level}"] = (
            on_source.square().mean() + (on_target - 1).square().mean()
        ) / 2
    output = method.student(data.source_image)
    expected["source"] = cross_entropy(output.logits, data.source_label, stride=2)
    auxiliary = method.auxiliary_head(output.features[:3])[0]
    expected["source_auxiliary"] = 0.1 * cross_entropy(auxiliary, data.source_label, stride=2)
    assert values == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-4)


def test_minent_adds_the_targets_entropy_at_each_level():
    method = make("minent", levels=2).eval()  # no drop-path
    data = batch()
    values = {k: v.item() for group in method.losses(data, 0) for k, v in group.items()}
    output = method.student(data.target_image)
    levels = {"main": output.logits, "auxiliary": method.auxiliary_head(output.features[:3])[0]}
    for (level, logits), weight in zip(levels.items(), (0.001, 0.0002), strict=True):
        p = upsample(logits, (32, 64)).softmax(1)
        expected = -(p * p.log()).sum(1).mean() / log(19)
        assert values[f"entropy_{level}"] == pytest.approx(weight * expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["adaptsegnet", "advent", "minent"])
@pytest.mark.parametrize("network", ["test_mit", "test_deeplab"])
def test_the_second_level_is_one_stage_before_and_for_training_only(name, network):
    method = make(name, network, levels=2)
    assert method.auxiliary_head.fused_channels == method.student.feature_channels[-2]
    assert not any("auxiliary" in key for key in method.student.state_dict())
    groups = method.param_groups(1.0, 0.0, 10.0)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rate[id(p)] for p in method.auxiliary_head.parameters()} == {10.0}
    assert make(name, network).auxiliary_head is None


def test_the_student_comes_to_fool_a_discriminator_that_stands_still():
    method = make("adaptsegnet", lambda_adv=1.0).eval()  # no drop-path
    optimiser = torch.optim.Adam(method.student.parameters(), lr=1e-3)
    seen = []
    for step in range(8):
        optimiser.zero_grad()
        _, adversarial, _ = method.losses(batch(), step)
        adversarial["adversarial_main"].backward()
        optimiser.step()
        seen.append(adversarial["adversarial_main"].item())
    assert seen[-1] < seen[0]


def test_adaptsegnet_runs_from_the_command_line(tmp_path):
    outcome = bench(
        "run", "--method", "adaptsegnet", "--scenario", "gta2cs", "--results", tmp_path,
        "--set", "levels=2", "--set", "discriminator_width=4", "--set", "accumulation=2", *QUICK,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (record,) = store.read_all(tmp_path / "records")
    terms = {"source", "source_auxiliary"} | {
        f"{kind}_{level}"
        for kind in ("adversarial", "discriminator")
        for level in ("main", "auxiliary")
    }
    assert set(record.metrics.losses) == terms
    assert record.cost.training_parameters_m > record.cost.parameters_m
    shown = bench("info", "adaptsegnet").out
    assert "CVPR 2018" in shown
    assert "discriminator_lr" in shown
