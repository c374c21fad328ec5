"""Low-rank adapters on an encoder's attention, by the library peft.

Source: Hu and others, "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. They exist
while a network is trained: merged into the weights that they adapt, they leave a network of its
own names, which is stored, scored and exported as any other.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import nn

from methods.contract import Segmentor
from methods.networks.freezing import hold
from methods.networks.modes import evaluating

#: Side of the image on which it is seen which layers are called.
TRIAL_SIDE = 64


def attention_layers(network: Segmentor) -> list[str]:
    """Names of the encoder's linear layers in attention that learn. ValueError for none.

    An attention is a module whose own name holds `attn`; torch's calls no layers, and has none.
    ValueError also where a layer's weights are read without calling it, so that an adapter would
    do nothing, and where peft is missing.
    """
    if find_spec("peft") is None:
        raise ValueError("lora_rank needs the package peft: pip install 'uda-bench[lora]'")
    modules = dict(network.encoder.named_modules())
    names = [
        name
        for name, module in modules.items()
        if isinstance(module, nn.Linear)
        and module.weight.requires_grad
        and "attn" in name.rpartition(".")[0].rpartition(".")[2]
        and not isinstance(modules[name.rpartition(".")[0]], nn.MultiheadAttention)
    ]
    if not names:
        raise ValueError(
            f"lora_rank: the encoder of {network.name} has no attention with linear layers that "
            "learn; expected a transformer of timm or of the zoo, not frozen as a whole"
        )
    if silent := sorted(set(names) - _called(network, names)):
        raise ValueError(
            f"lora_rank: the encoder of {network.name} reads the weights of {silent[0]} without "
            "calling it, so that an adapter does nothing; expected another encoder"
        )
    return names


def add_adapters(network: Segmentor, rank: int) -> None:
    """Freeze the encoder, and let adapters of that rank on its attention learn.

    Blocks that are frozen already get none. The adapters begin as no change, and are not scaled.
    ValueError as of `attention_layers`.
    """
    names = attention_layers(network)
    from peft import LoraConfig, inject_adapter_in_model

    network.encoder.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
    inject_adapter_in_model(config, network.encoder)
    hold(network.encoder, {n for n, p in network.encoder.named_parameters() if not p.requires_grad})


@torch.no_grad()
def _called(network: Segmentor, names: list[str]) -> set[str]:
    called: set[str] = set()
    hooks = [
        network.encoder.get_submodule(name).register_forward_pre_hook(
            lambda *_, name=name: called.add(name)
        )
        for name in names
    ]
    try:
        with evaluating(network):
            device = next(network.parameters()).device
            network.features(torch.zeros(1, 3, TRIAL_SIDE, TRIAL_SIDE, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return called


def merge_adapters(module: nn.Module) -> None:
    """Put what adapters have learned into the weights below them, in every network within."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(parent), attribute, layer.get_base_layer())
