"""Constants and parameters on their way to the device."""

import torch

from methods.parts.device import constant


def test_a_constant_that_scoring_asked_for_first_serves_a_graph():
    constant.cache_clear()
    with torch.inference_mode():
        factor = constant((2.0, 3.0), torch.device("cpu"))
    x = torch.ones(2, requires_grad=True)
    (x * constant((2.0, 3.0), torch.device("cpu"))).sum().backward()
    assert x.grad.tolist() == [2.0, 3.0]
    assert constant((2.0, 3.0), torch.device("cpu")) is factor
