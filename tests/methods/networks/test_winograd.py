"""Winograd's way gives what torch's convolution gives, forward and backward."""

import pytest
import torch
import torch.nn.functional as F

from methods.networks import winograd


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", [(16, 24), (17, 22), (3, 5)])
@pytest.mark.parametrize(("bytes_at_once", "channels_at_once"), [(1, 4), (2**20, 256)])
def test_output_and_gradients_equal_torchs(
    size, dilation, bytes_at_once, channels_at_once, monkeypatch
):
    monkeypatch.setattr(winograd, "BYTES_AT_ONCE", bytes_at_once)  # 1: a row of tiles at a time
    monkeypatch.setattr(winograd, "CHANNELS_AT_ONCE", channels_at_once)
    torch.manual_seed(0)
    maps = [torch.randn(2, c, *size, dtype=torch.double, requires_grad=True) for c in (3, 5)]
    weight = torch.randn(7, 8, 3, 3, dtype=torch.double, requires_grad=True)
    towards = torch.randn(2, 7, *size, dtype=torch.double)
    results = []
    for output in (
        winograd.convolved(maps, weight, dilation),
        F.conv2d(torch.cat(maps, 1), weight, padding=dilation, dilation=dilation),
    ):
        results.append((output, *torch.autograd.grad(output, (weight, *maps), towards)))
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-11, atol=1e-11)


def test_in_float32_the_difference_is_that_of_the_docstring():
    torch.manual_seed(0)
    x = torch.randn(1, 256, 32, 32)
    weight = torch.randn(256, 256, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    difference = (winograd.convolved([x], weight) - exact).abs().max() / exact.abs().max()
    assert difference < 2e-5


def test_where_it_is_taken():
    wide, narrow = torch.zeros(1, 256, 32, 32), torch.zeros(1, 128, 32, 32)

    def conv(channels=512, outputs=256, kernel=3, **settings):
        return torch.nn.Conv2d(
            channels, outputs, kernel, **{"padding": 1, "bias": False} | settings
        )

    assert winograd.worth_it([wide, wide], conv())
    assert not winograd.worth_it([wide, narrow], conv(384))
    assert not winograd.worth_it([wide, wide], conv(outputs=128))
    assert not winograd.worth_it([wide, wide], conv(kernel=1, padding=0))
    assert not winograd.worth_it([wide, wide], conv(stride=2))
    assert not winograd.worth_it([wide, wide], conv(padding=0))
    assert winograd.worth_it([wide], conv(256, padding=4, dilation=4))
    assert not winograd.worth_it([wide], conv(256, padding=4, dilation=2))
    assert not winograd.worth_it([wide], conv(256, padding=16, dilation=16)), "most is padding"
    assert not winograd.worth_it([wide], conv(256, padding=(2, 4), dilation=(2, 4)))
    assert not winograd.worth_it([wide], conv(256, bias=True))
    assert not winograd.worth_it([wide], conv(256, groups=2))
    assert not winograd.worth_it([wide[..., :16]], conv(256))
    assert not winograd.worth_it([wide.to("meta")], conv(256))  # FLOPs are counted as they are
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.worth_it([wide, wide], conv())
