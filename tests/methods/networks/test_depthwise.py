"""The dilated depthwise convolution is torch's own, whatever way it is computed."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.networks.depthwise import DilatedDepthwiseConv


def plain(conv: DilatedDepthwiseConv, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight, padding=conv.padding, dilation=conv.dilation, groups=x.shape[1])


@pytest.mark.parametrize("size", [(24, 36), (13, 7), (1, 5)])
@pytest.mark.parametrize("dilation", [2, 6, 12, 18])
def test_output_and_gradients_equal_torchs(dilation, size):
    torch.manual_seed(0)
    conv = DilatedDepthwiseConv(8, dilation).double()
    x = torch.randn(2, 8, *size, dtype=torch.double, requires_grad=True)
    towards = torch.randn_like(x)
    results = []
    for output in (conv(x), plain(conv, x)):
        gradients = torch.autograd.grad(output, (x, conv.weight), towards)
        results.append((output, *gradients))
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dilation", [6, 12])
@pytest.mark.parametrize("frozen", ["map", "weight"])
def test_what_needs_no_gradient_gets_none(frozen, dilation):
    conv = DilatedDepthwiseConv(4, dilation)
    conv.weight.requires_grad_(frozen != "weight")
    x = torch.randn(1, 4, 30, 30, requires_grad=frozen != "map")
    towards = torch.randn_like(x)
    learns = x if frozen == "weight" else conv.weight
    (ours,) = torch.autograd.grad(conv(x), learns, towards)
    (torchs,) = torch.autograd.grad(plain(conv, x), learns, towards)
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-4)


def test_under_autocast_it_has_the_lower_precision():
    conv = DilatedDepthwiseConv(8, 2)
    x = torch.randn(2, 8, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        ours, torchs = conv(x), plain(conv, x)
    assert ours.dtype == torchs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, torchs)
    ours.sum().backward()
    assert conv.weight.grad.dtype == torch.float32


def test_a_recorded_graph_holds_one_convolution():
    program = torch.export.export(DilatedDepthwiseConv(8, 6), (torch.randn(1, 8, 20, 20),))
    calls = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert calls == [torch.ops.aten.conv2d.default]
