"""Activations that are computed again: the same outputs, gradients and statistics, less kept."""

import copy

import torch
import torch.nn.functional as F
from timm.models import resnet as timm_resnet
from torch import nn

from methods.networks import winograd
from methods.networks.encoders.resnet import DilatedResNet
from methods.networks.recompute import gelu_linear, norm_relu_conv


def saved_values(forward) -> tuple[torch.Tensor, int]:
    """The output, and the number of values kept for the backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    return output, sum(kept.values())


def agree(ours, plain, inputs) -> None:
    (output, kept), (expected, kept_plain) = saved_values(ours), saved_values(plain)
    assert kept < kept_plain
    towards = torch.randn_like(output)
    pairs = [(output, expected)]
    pairs += zip(
        torch.autograd.grad(output, inputs, towards),
        torch.autograd.grad(expected, inputs, towards),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_gelu_linear():
    torch.manual_seed(0)
    linear = nn.Linear(12, 4).double()
    x = torch.randn(2, 40, 12, dtype=torch.double, requires_grad=True)
    agree(
        lambda: gelu_linear(x, linear), lambda: linear(F.gelu(x)), (x, linear.weight, linear.bias)
    )


def test_norm_relu_conv():
    torch.manual_seed(0)
    bn, conv = nn.BatchNorm2d(6).double(), nn.Conv2d(6, 4, 3, 2, 2, 2, bias=False).double()
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    twin = copy.deepcopy(bn)
    x = torch.randn(2, 6, 20, 30, dtype=torch.double, requires_grad=True)
    inputs = (x, conv.weight)
    agree(lambda: norm_relu_conv(x, bn, conv), lambda: conv(F.relu(twin(x))), inputs)
    for name, value in bn.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name])


def test_a_bottleneck_equals_timms():
    torch.manual_seed(0)
    encoder = DilatedResNet((1, 1, 1, 1), channels=(4, 8, 8, 8), stem_width=4).double()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)  # residual branches start at zero
    block = encoder.get_submodule("layer2")[0]
    x = torch.randn(2, 16, 24, 24, dtype=torch.double, requires_grad=True)
    weights = [block.conv1.weight, block.conv2.weight, block.bn2.bias, block.conv3.weight]
    agree(lambda: block(x), lambda: timm_resnet.Bottleneck.forward(block, x), (x, *weights))


def test_the_norms_own_gradients():
    torch.manual_seed(0)
    bn, conv = nn.BatchNorm2d(6).double(), nn.Conv2d(6, 4, 1, bias=False).double()
    x = torch.randn(2, 6, 20, 30, dtype=torch.double)
    ours = torch.autograd.grad(norm_relu_conv(x, bn, conv).square().sum(), (bn.weight, bn.bias))
    plain = torch.autograd.grad(conv(F.relu(bn(x))).square().sum(), (bn.weight, bn.bias))
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


def test_a_resnets_fast_ways_on_a_cpu_change_nothing(monkeypatch):
    torch.manual_seed(0)
    encoder = DilatedResNet((1, 1, 1, 1), channels=(4, 8, 256, 256), stem_width=4).double()
    image = torch.randn(1, 3, 256, 256, dtype=torch.double)

    def maps_and_gradient():
        maps = encoder(image)
        weight = encoder.get_submodule("layer4")[0].conv2.weight
        return *maps, torch.autograd.grad(maps[-1].square().mean(), weight)[0]

    fast = maps_and_gradient()
    assert fast[-2].is_contiguous(memory_format=torch.channels_last)
    assert not fast[-2].is_contiguous()
    monkeypatch.setattr(winograd, "FEWEST_CELLS", 10**9)
    plain = maps_and_gradient()
    assert plain[-2].is_contiguous()
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
