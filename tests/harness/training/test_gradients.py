"""Gradients of several groups add up to those that autograd adds up itself."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from harness.training import gradients
from harness.training.gradients import GradientSum


def losses(network, x):
    """Of three groups: the second leaves the last layer out, the third uses the first one twice."""
    first, _, last = network
    yield network(x).square().mean()
    yield first(x).exp().mean()
    yield last(first(first(x))).abs().mean()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()


@pytest.mark.parametrize("bucket", [1, 100, 2**20])
def test_sums_are_autograds(network, bucket, monkeypatch):
    monkeypatch.setattr(gradients, "BUCKET", bucket)
    plain, x = copy.deepcopy(network), torch.randn(3, 4, dtype=torch.double)
    total = GradientSum(list(network.parameters()))
    for loss in losses(network, x):
        total.backward(loss)
    for loss in losses(plain, x):
        loss.backward()
    for ours, autograds in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, autograds.grad, rtol=1e-12, atol=1e-12)


def test_no_more_than_a_bucket_of_new_gradients_is_alive(network, monkeypatch):
    monkeypatch.setattr(gradients, "BUCKET", 1)
    total = GradientSum(list(network.parameters()))
    x = torch.randn(3, 4, dtype=torch.double)
    total.backward(network(x).square().mean())
    earlier = {id(p.grad) for p in network.parameters()}
    seen = []

    def look(parameter):
        seen.append(sum(p.grad is not None for p in network.parameters()))

    for parameter in network.parameters():
        parameter.register_post_accumulate_grad_hook(look)
    total.backward(network(x).square().mean())
    assert seen == [0, 0, 0, 0]
    assert {id(p.grad) for p in network.parameters()} == earlier


def test_what_fails_leaves_the_earlier_gradients(network):
    total = GradientSum(list(network.parameters()))
    x = torch.randn(3, 4, dtype=torch.double)
    total.backward(network(x).square().mean())
    before = [p.grad.clone() for p in network.parameters()]
    with pytest.raises(RuntimeError):
        total.backward(network(x))  # no scalar
    assert all(torch.equal(p.grad, b) for p, b in zip(network.parameters(), before, strict=True))


def test_what_learns_nothing_is_left_alone(network):
    network[0].requires_grad_(False)
    total = GradientSum(list(network.parameters()))
    total.backward(network(torch.randn(3, 4, dtype=torch.double)).mean())
    assert network[0].weight.grad is None
    assert network[2].weight.grad is not None


def test_parameters_do_not_keep_it(network):
    total = GradientSum(list(network.parameters()))
    gone = weakref.ref(total)
    gc.disable()
    try:
        del total
        assert gone() is None
    finally:
        gc.enable()
    network(torch.randn(3, 4, dtype=torch.double)).mean().backward()
    assert network[0].weight.grad is not None
