"""DeepLab-V2's head is the sum of torch's dilated convolutions, whatever way it is computed."""

import pytest
import torch

from methods.networks.heads.dlv2 import DLV2Head


@pytest.mark.parametrize("size", [(24, 36), (5, 3)])
@pytest.mark.parametrize("dilations", [(6, 12), (2,), (1, 3, 30)])
def test_output_and_gradients_equal_torchs(dilations, size):
    torch.manual_seed(0)
    head = DLV2Head([8], 19, dilations).double()
    parameters = list(head.parameters())
    for parameter in parameters:
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 8, *size, dtype=torch.double, requires_grad=True)
    convs = [branch.conv for branch in head.aspp_modules]
    towards = torch.randn(2, 19, *size, dtype=torch.double)
    results = []
    for output in (head([x])[0], torch.stack([conv(x) for conv in convs]).sum(0)):
        results.append((output, *torch.autograd.grad(output, (x, *parameters), towards)))
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-11)
