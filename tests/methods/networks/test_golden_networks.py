"""The networks against outputs of the reference implementation: see tests/data/golden/README.md."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods.networks.checkpoint_formats import convert
from methods.networks.encoders.mit import MixTransformer
from methods.networks.encoders.resnet import DilatedResNet
from methods.networks.heads.daformer import DAFormerHead
from methods.networks.heads.dlv2 import DLV2Head
from methods.networks.segmentor import EncoderDecoder

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


class Vectors:
    def __init__(self, file: str) -> None:
        with np.load(GOLDEN / file) as arrays:
            self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays.files}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.arrays[name]

    def state(self, prefix: str) -> dict[str, torch.Tensor]:
        arrays = self.arrays.items()
        return {k.removeprefix(prefix): value for k, value in arrays if k.startswith(prefix)}

    def image(self, name: str) -> torch.Tensor:
        return (self[name].float() - MEAN) / STD


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def with_state(network: EncoderDecoder, state: dict[str, torch.Tensor]) -> EncoderDecoder:
    converted, _ = convert(state, network.state_dict().keys())
    network.load_state_dict(converted)
    return network.eval()


@pytest.fixture(scope="module")
def daformer_vectors():
    return Vectors("a_daformer_tiny.npz")


def daformer(vectors: Vectors) -> EncoderDecoder:
    encoder = MixTransformer((16, 32, 40, 64), (1, 1, 1, 1), (1, 2, 5, 8), drop_path_rate=0.0)
    head = DAFormerHead(encoder.channels, 19, channels=32, dropout=0.0)
    return with_state(EncoderDecoder("tiny", encoder, head), vectors.state("sd."))


def upsampled(network: EncoderDecoder, image: torch.Tensor) -> torch.Tensor:
    logits = network(image).logits
    return F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def test_daformer_features_and_logits(daformer_vectors):
    v, network = daformer_vectors, daformer(daformer_vectors)
    image = v.image("img_u8")
    close(image, v["img"])
    out = network(image)
    for i, feature in enumerate(out.features, start=1):
        close(feature, v[f"feat{i}"])
    close(out.logits, v["head_logits"])
    full = upsampled(network, image)
    close(full[0, :, ::3, ::3], v["logits_b0_sub3"])
    assert torch.equal(full.argmax(1).byte(), v["argmax"])
    twice = F.interpolate(full, (192, 256), mode="bilinear", align_corners=False)
    assert torch.equal(twice.softmax(1).argmax(1).byte(), v["simple_test_2x"])


@torch.no_grad()
def test_daformer_at_an_odd_size(daformer_vectors):
    v = daformer_vectors
    out = daformer(v)(v.image("odd_u8"))
    for i, feature in enumerate(out.features, start=1):
        close(feature, v[f"odd_feat{i}"])
    close(out.logits, v["odd_head_logits"])


@torch.no_grad()
def test_daformer_layer_norm_epsilons(daformer_vectors):
    v, network = daformer_vectors, daformer(daformer_vectors)
    for name, parameter in network.encoder.named_parameters():
        if (".proj." in name and name.startswith("patch_embed")) or ".attn.sr." in name:
            parameter *= 0.002
    out = network(v.image("img_u8"))
    for i, feature in enumerate(out.features, start=1):
        close(feature[0], v[f"eps_feat{i}_b0"])
    close(out.logits, v["eps_head_logits"])


@torch.no_grad()
def test_daformer_batch_norm_in_training(daformer_vectors):
    v, network = daformer_vectors, daformer(daformer_vectors).train()
    close(network(v.image("img_u8")).logits, v["train_head_logits"])
    after = v.state("train_after.decode_head.")
    assert after
    buffers = dict(network.head.named_buffers())
    for name, value in after.items():
        close(buffers[name].float(), value.float())


@torch.no_grad()
def test_daformer_by_sliding_windows(daformer_vectors):
    v, network = daformer_vectors, daformer(daformer_vectors)
    image = v.image("img_u8")
    total, count = torch.zeros(2, 19, 96, 128), torch.zeros(1, 1, 96, 128)
    for y in (0, 32):
        for x in (0, 40, 64):
            window = (slice(None), slice(None), slice(y, y + 64), slice(x, x + 64))
            total[window] += upsampled(network, image[window])
            count[window] += 1
    close((total / count).softmax(1)[:, :, ::4, ::4], v["slide_64_40_low"])


@pytest.mark.parametrize(
    ("head_state", "dilations", "expected"),
    [
        ("sd.decode_head.", (6, 12, 18, 24), "dlv2_head_logits"),
        ("sdred.decode_head.", (6, 12), "dlv2red_head_logits"),
    ],
)
@torch.no_grad()
def test_deeplabv2(head_state, dilations, expected):
    v = Vectors("a2_dlv2_r50tiny.npz")
    encoder = DilatedResNet((3, 4, 6, 3), channels=(4, 8, 16, 32), stem_width=4)
    head = DLV2Head(encoder.channels, 19, dilations)
    state = {f"backbone.{k}": value for k, value in v.state("sd.backbone.").items()}
    state |= {f"decode_head.{k}": value for k, value in v.state(head_state).items()}
    network = with_state(EncoderDecoder("tiny", encoder, head), state)
    image = v.image("img_u8")
    out = network(image)
    for i, feature in enumerate(out.features, start=1):
        close(feature, v[f"feat{i}"])
    close(out.logits, v[expected])
    if len(dilations) == 4:
        close(network.train()(image).logits, v["dlv2_train_head_logits"])
