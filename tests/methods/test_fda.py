"""Fourier domain adaptation: amplitudes, phases and the penalty, worked out by hand."""

from __future__ import annotations

from math import cos, log, pi
from unittest.mock import patch

import pytest
import torch
from toy_student import Toy

from methods.contract import Batch
from methods.fda import FDA
from methods.networks.zoo import build
from methods.parts.augment import denormalise, renormalise
from methods.parts.fourier import low_square, swap_low_amplitudes
from methods.parts.losses import charbonnier


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    source, target = torch.rand(2, 2, 3, 20, 32, generator=torch.Generator().manual_seed(0))
    return source, target


def test_four_by_four_by_hand():
    """Mean and slow wave take the target's strength, the wave its own place; the checks stay."""
    source, target = torch.empty(2, 1, 1, 4, 4)
    expected = torch.empty(1, 1, 4, 4)
    for i in range(4):
        for j in range(4):
            checks = 0.1 * (-1) ** (i + j)  # the fastest wave
            source[..., i, j] = 0.2 + 0.1 * cos(pi * j / 2) + checks
            target[..., i, j] = 0.6 + 0.3 * cos(pi * (j - 1) / 2)
            expected[..., i, j] = 0.6 + 0.3 * cos(pi * j / 2) + checks
    assert torch.allclose(swap_low_amplitudes(source, target, 0.25), expected, atol=1e-6)


def test_the_low_square():
    rows = [[1, 1, 1, 0, 0, 0]] * 3 + [[0] * 6] * 3 + [[1, 1, 1, 0, 0, 0]] * 2
    assert low_square((8, 10), 2).int().tolist() == rows
    assert low_square((4, 4), 2).all()


def test_beta_0_changes_nothing(images):
    assert torch.equal(swap_low_amplitudes(*images, 0), images[0])


@pytest.mark.parametrize(("beta", "half_width"), [(0.01, 1), (0.1, 2), (0.19, 3), (0.5, 10)])
def test_amplitudes_are_the_targets_below_and_the_sources_above(images, beta, half_width):
    source, target, made = map(torch.fft.fft2, (*images, swap_low_amplitudes(*images, beta)))
    rows, columns = (torch.fft.fftfreq(side, 1 / side).round().abs() for side in (20, 32))
    low = torch.maximum(rows[:, None], columns) <= half_width
    expected = torch.where(low, target.abs(), source.abs())
    # Waves of half the side's length have no phase but their sign: all others keep theirs.
    assert torch.allclose(made.abs(), expected, atol=1e-3)
    assert torch.allclose(made / made.abs(), source / source.abs(), atol=1e-3)


def test_of_itself_nothing_changes(images):
    assert torch.allclose(swap_low_amplitudes(images[0], images[0], 0.3), images[0], atol=1e-5)


def test_the_student_sees_the_targets_mean_colour_in_range(images):
    source, target = images[0] * 0.2 + 0.3, images[1] * 0.2 + 0.5
    label = torch.zeros(2, 20, 32, dtype=torch.int64)
    method = FDA(FDA.Config(beta=(0.05,)), build("test_mit"))
    styled = method.in_target_style(Batch(renormalise(source), label, renormalise(target)))
    assert torch.allclose(denormalise(styled).mean((2, 3)), target.mean((2, 3)), atol=1e-4)
    harsh = Batch(renormalise(images[0].round()), label, renormalise(images[1].round()))
    back = method.in_target_style(harsh)
    assert torch.allclose(renormalise(denormalise(back)), back, atol=1e-4)  # nothing to be clamped


def test_bands_are_drawn_from_the_methods_own_generator(images):
    batch = Batch(*images[:1], torch.zeros(2, 20, 32, dtype=torch.int64), images[1])
    drawn = []
    for _ in range(2):
        method = FDA(FDA.Config(), build("test_mit"), generator=torch.Generator().manual_seed(1))
        with patch("methods.fda.swap_low_amplitudes", side_effect=lambda s, t, beta: s) as swap:
            for _ in range(20):
                method.in_target_style(batch)
        drawn.append([call.args[2] for call in swap.call_args_list])
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {0.01, 0.05, 0.09}


def test_charbonnier():
    penalties = charbonnier(torch.tensor([0.0, 3.0]), eta=2, epsilon=0.5)
    assert penalties.tolist() == pytest.approx([0.0625, 85.5625])  # 0.25^2, 9.25^2
    assert charbonnier(torch.tensor(1.0), 2).item() == pytest.approx(1 + 2e-6, abs=1e-6)


def test_the_terms_by_hand():
    """A student of slope 0 gives both classes 1/2: the largest entropy, 1."""
    image, label = torch.zeros(2, 3, 16, 16), torch.zeros(2, 16, 16, dtype=torch.int64)
    method = FDA(FDA.Config(eta=1.5, lambda_charbonnier=0.1), Toy(0.0))
    groups = list(method.losses(Batch(image, label, image), 0))
    assert [group.keys() for group in groups] == [{"source"}, {"entropy"}]
    assert groups[0]["source"].item() == pytest.approx(log(2))
    assert groups[1]["entropy"].item() == pytest.approx(0.1 * (1 + 1e-6) ** 1.5, rel=1e-6)


def test_entropy_starts_where_it_is_told(images):
    batch = Batch(images[0], torch.zeros(2, 20, 32, dtype=torch.int64), images[1])
    method = FDA(FDA.Config(entropy_start=0.5), Toy(1.0), iterations=4)
    terms = [[*group] for step in range(4) for group in method.losses(batch, step)]
    assert terms == [["source"], ["source"], ["source"], ["entropy"], ["source"], ["entropy"]]


def test_images_may_leave_their_range(images):
    """As in the authors' code: what the swap makes is what the student sees."""
    source, target = images[0].round(), images[1].round()
    batch = Batch(
        renormalise(source), torch.zeros(2, 20, 32, dtype=torch.int64), renormalise(target)
    )
    method = FDA(FDA.Config(beta=(0.05,), clamp_images=False), Toy(1.0))
    styled = method.in_target_style(batch)
    expected = renormalise(swap_low_amplitudes(source, target, 0.05))
    assert torch.allclose(styled, expected, atol=1e-4)
    assert not torch.allclose(renormalise(denormalise(styled)), styled, atol=1e-2)


@pytest.mark.parametrize("beta", [(), (-0.1,), (0.6,)])
def test_bands_that_make_no_square_are_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        FDA.Config(beta=beta)
