"""The memory that a training would take of a GPU, reckoned on tensors without storage."""

from __future__ import annotations

import pytest
import torch

from harness.config.planning import Request, resolve
from harness.runs.memory_estimate import activations, gpu_memory, needed_gib
from methods.networks import zoo

VIT = {"depth": 2, "embed_dim": 24, "num_heads": 2}


def vit(**arguments):
    with torch.device("meta"):
        return zoo.build("timm:vit_tiny_patch16_224:linear", **(VIT | arguments)).train()


def test_activations_grow_with_images_and_tokens():
    """With tokens linearly: pairs of them are never kept."""
    network = vit()
    one = activations(network, 1, (256, 256))
    assert activations(network, 2, (256, 256)) == pytest.approx(2 * one, rel=0.01)
    assert activations(network, 1, (512, 512)) == pytest.approx(4 * one, rel=0.05)


def test_activations_of_a_block_are_what_a_transformer_keeps():
    """A token: inputs of two norms, four products and the GELU, of which the MLP's are wide."""
    width, tokens = 24, 16 * 16 + 1  # 256 pixels in patches of 16, and the class token
    a_block = activations(vit(depth=3, drop_path_rate=0.0), 1, (256, 256)) - activations(
        vit(depth=2, drop_path_rate=0.0), 1, (256, 256)
    )
    assert 14 <= a_block / (4 * width * tokens) <= 20


def need(*overrides: str) -> float:
    request = Request(
        method="source_only", scenario="gta2cs", profile="tiny", student="test_mit",
        init="none", overrides=overrides,
    )  # fmt: skip
    return needed_gib(resolve(request))


def test_what_stands_still_and_lower_precision_need_less():
    whole = need()
    assert need("freeze_encoder=all") < whole
    assert need("precision=bf16") < whole
    assert need("batch_size=4") > 1.5 * whole
    assert need("accumulation=4") == whole


def test_a_dry_run_without_a_gpu_says_what_one_would_need():
    request = Request(method="dacs", scenario="gta2cs", profile="gate")
    line = gpu_memory(resolve(request), torch.device("cpu"), None, 2)
    assert line.startswith("needs about 0.")
    assert line.endswith("GiB of GPU memory: an estimate, not measured")


def test_networks_of_mmsegmentation_are_reckoned_too():
    pytest.importorskip("mmseg")
    name = "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"
    request = Request(method="source_only", scenario="gta2cs", student=name, init="none")
    assert gpu_memory(resolve(request), torch.device("cpu"), None, 2).startswith("needs about 0.")
