"""Our MiT-B0..B5 against mmsegmentation's and Hugging Face's, with the same random weights.

B2 to B5 differ from B1 in their depths alone: they are compared at an eighth of its width.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from methods.networks import zoo
from methods.networks.checkpoint_formats import convert
from methods.networks.encoders.mit import MixTransformer

DEPTHS = {
    "b0": [2, 2, 2, 2],
    "b1": [2, 2, 2, 2],
    "b2": [3, 4, 6, 3],
    "b3": [3, 4, 18, 3],
    "b4": [3, 8, 27, 3],
    "b5": [3, 6, 40, 3],
}
HEADS = (1, 2, 5, 8)
#: Channels of an attention head: published ones in B0 and B1.
WIDTHS = {"b0": 32, "b1": 64, "b2": 8, "b3": 8, "b4": 8, "b5": 8}

#: Norms after patch embedding and after key reduction: ours, mmsegmentation's, Hugging Face's.
COARSE = re.compile(
    r"patch_embed\d\.norm|attn\.norm"
    r"|layers\.\d\.0\.norm"
    r"|patch_embeddings(\.\d)?\.layer_norm|attention\.\w+\.layer_norm"
)


def layer_norms(network: nn.Module) -> dict[str, nn.LayerNorm]:
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.LayerNorm)}


def of_mmsegmentation(size: str) -> nn.Module:
    from methods.networks import mmcv_ops

    mmcv_ops.install()
    from mmseg.models.backbones import MixVisionTransformer

    return MixVisionTransformer(
        embed_dims=WIDTHS[size], num_layers=DEPTHS[size], num_heads=list(HEADS)
    )


def of_hugging_face(size: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    dims = [WIDTHS[size] * heads for heads in HEADS]
    config = transformers.SegformerConfig(depths=DEPTHS[size], hidden_sizes=dims)
    return transformers.SegformerModel(config)


def published(theirs: nn.Module) -> dict[str, Tensor]:
    """Its parameters as its files name them; Hugging Face's code renames when it writes."""
    if not hasattr(theirs, "save_pretrained"):
        return {f"backbone.{name}": value for name, value in theirs.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return load(Path(folder, "model.safetensors").read_bytes())


def maps(theirs: nn.Module, image: Tensor) -> list[Tensor]:
    if hasattr(theirs, "save_pretrained"):
        return list(theirs(image, output_hidden_states=True).hidden_states)
    return list(theirs(image))


@pytest.mark.parametrize("size", DEPTHS)
@pytest.mark.parametrize("oracle", [of_mmsegmentation, of_hugging_face])
@torch.no_grad()
def test_mit_equals_the_oracle(oracle, size):
    torch.manual_seed(0)
    theirs = oracle(size).eval()
    for name, norm in layer_norms(theirs).items():
        # Theirs have one epsilon throughout; the published weights were trained with these.
        norm.eps = 1e-5 if COARSE.search(name) else 1e-6
        norm.weight += 0.2 * torch.randn_like(norm.weight)
    for name, parameter in theirs.named_parameters():
        if name.endswith("bias"):
            parameter += 0.1 * torch.randn_like(parameter)
    with torch.device("meta"):  # its own initial weights would cost seconds
        dims = tuple(WIDTHS[size] * heads for heads in HEADS)
        ours = MixTransformer(dims, DEPTHS[size], HEADS).eval()
    expected = [f"encoder.{name}" for name in ours.state_dict()]
    state, _ = convert(published(theirs), expected)
    ours.load_state_dict({k.removeprefix("encoder."): v for k, v in state.items()}, assign=True)
    image = torch.randn(1, 3, 64, 96)
    for stage, other in zip(ours(image), maps(theirs, image), strict=True):
        deviation = (stage - other).abs().max() / other.abs().max()
        assert deviation < 1e-4


@pytest.mark.parametrize("size", DEPTHS)
@pytest.mark.parametrize("head", ["daformer", "segformer"])
def test_the_zoos_sizes_are_the_published_ones(head, size):
    with torch.device("meta"):
        encoder = zoo.build(f"{head}_mit{size}").encoder
    stages = [encoder.get_submodule(f"block{number}") for number in (1, 2, 3, 4)]
    assert [len(stage) for stage in stages] == DEPTHS[size]
    width = 32 if size == "b0" else 64
    assert encoder.channels == [width * heads for heads in HEADS]
    for stage, heads, ratio in zip(stages, HEADS, (8, 4, 2, 1), strict=True):
        assert {block.attn.num_heads for block in stage} == {heads}
        assert {block.attn.sr_ratio for block in stage} == {ratio}
        assert {block.mlp.fc1.out_features for block in stage} == {4 * width * heads}


@pytest.mark.parametrize("name", ["daformer_mitb0", "daformer_mitb5", "mini_s", "test_mit"])
def test_every_layer_norm_has_the_references_epsilon(name):
    """1e-6 in blocks and after stages, 1e-5 after patch embedding and after key reduction."""
    with torch.device("meta"):
        encoder = zoo.build(name).encoder
    epsilons = {norm: module.eps for norm, module in layer_norms(encoder).items()}
    coarse = {norm for norm, eps in epsilons.items() if eps == 1e-5}
    assert coarse == {norm for norm in epsilons if COARSE.search(norm)}
    assert {eps for norm, eps in epsilons.items() if norm not in coarse} == {1e-6}
    assert {"patch_embed1.norm", "patch_embed4.norm", "block1.0.attn.norm"} <= coarse
    assert {"norm1", "norm4", "block1.0.norm1", "block4.0.norm2"} <= epsilons.keys() - coarse
