"""AdaBN: source-only's weights to the bit, and statistics of target images alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from methods import registry
from methods.contract import Batch, Segmentor
from methods.networks import zoo

ITERATIONS = 6


def batches() -> list[Batch]:
    """Target images are brighter and of more contrast than the source's."""
    generator = torch.Generator().manual_seed(1)

    def images() -> torch.Tensor:
        return torch.randn(2, 3, 64, 64, generator=generator)

    labels = torch.randint(0, 19, (2, 64, 64), generator=generator)
    return [Batch(images(), labels, 3 * images() + 1) for _ in range(ITERATIONS)]


def trained(name: str, steps: int = ITERATIONS, **knobs: object) -> Segmentor:
    torch.manual_seed(0)
    cls = registry.load(name)
    method = cls(cls.Config(**knobs), zoo.build("test_deeplab"), iterations=ITERATIONS).train()
    optimiser = torch.optim.SGD(method.student.parameters(), 0.01)
    for step, batch in enumerate(batches()[:steps]):
        optimiser.zero_grad()
        for terms in method.losses(batch, step):
            torch.stack([*terms.values()]).sum().backward()
        optimiser.step()
    return method.student


def first_norm(network: Segmentor) -> _BatchNorm:
    return next(m for m in network.modules() if isinstance(m, _BatchNorm))


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_the_weights_are_source_onlys_to_the_bit(steps):
    plain, adapted = trained("source_only"), trained("adabn", statistics_steps=steps)
    for (name, one), other in zip(plain.named_parameters(), adapted.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(first_norm(plain).running_mean, first_norm(adapted).running_mean)


def test_the_statistics_are_those_of_target_images_in_the_last_steps(monkeypatch):
    seen: list[torch.Tensor] = []
    forward = _BatchNorm.forward

    def watched(norm: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
        if norm.training and not torch.is_grad_enabled():
            seen.append(x.mean((0, 2, 3)))
        return forward(norm, x)

    monkeypatch.setattr(_BatchNorm, "forward", watched)
    norm = first_norm(trained("adabn", statistics_steps=4))
    of_first_norm = seen[:: len(seen) // 4]
    assert len(of_first_norm) == 4
    monkeypatch.undo()
    kept = first_norm(trained("source_only", steps=2)).running_mean  # of the source before
    for mean in of_first_norm:
        kept = kept.lerp(mean, norm.momentum)
    assert torch.allclose(norm.running_mean, kept, atol=1e-6)
