"""Low-rank adapters: no change at first, the only thing that learns, gone once merged."""

import copy
from importlib.util import find_spec

import pytest
import torch

from methods.networks import zoo
from methods.networks.freezing import freeze
from methods.networks.lora import add_adapters, merge_adapters

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="in the extra `lora`")

VIT = {"depth": 2, "embed_dim": 24, "num_heads": 2}
NETWORKS = {
    "test_mit": {},
    "timm:vit_small_patch14_dinov2:linear": VIT,
    "timm:eva02_base_patch14_224:linear": VIT,
}


@needs_peft
@pytest.mark.parametrize("name", NETWORKS)
def test_adapters_learn_in_the_encoders_place_and_merge_into_it(name):
    torch.manual_seed(0)
    network = zoo.build(name, **NETWORKS[name]).eval()
    plain = copy.deepcopy(network)
    image = torch.randn(2, 3, 56, 56)
    add_adapters(network, 2)
    with torch.no_grad():
        torch.testing.assert_close(network(image).logits, plain(image).logits)
    learning = {n for n, p in network.encoder.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora_" in n for n in learning)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=10.0)
    for _ in range(2):  # the second factor begins at zero, so that the first has no gradient
        optimiser.zero_grad()
        network(image).logits.square().mean().backward()
        optimiser.step()
    assert all(network.encoder.get_parameter(n).grad.abs().sum() > 0 for n in learning)
    with torch.no_grad():
        trained = network(image).logits
        assert not torch.allclose(trained, plain(image).logits)
        merge_adapters(network)
        torch.testing.assert_close(network(image).logits, trained, rtol=1e-3, atol=1e-4)
    assert network.state_dict().keys() == plain.state_dict().keys()


@needs_peft
def test_frozen_blocks_get_no_adapters():
    network = zoo.build("timm:vit_small_patch14_dinov2:linear", **VIT)
    freeze(network, 1)
    add_adapters(network, 2)
    adapted = {n.split(".")[2] for n, _ in network.encoder.named_parameters() if "lora_" in n}
    assert adapted == {"1"}


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("test_deeplab", {}, "has no attention with linear layers"),
        ("timm:eva02_tiny_patch14_224:linear", VIT, "without calling it"),
    ],
)
def test_encoders_that_adapters_do_not_reach_are_refused(monkeypatch, name, arguments, reason):
    monkeypatch.setattr("methods.networks.lora.find_spec", lambda name: name)
    with pytest.raises(ValueError, match=reason):
        add_adapters(zoo.build(name, **arguments), 2)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("methods.networks.lora.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'uda-bench\[lora\]'"):
        add_adapters(zoo.build("test_mit"), 2)
