"""Networks with the reference's weights: same maps, logits and statistics."""

from __future__ import annotations

from functools import partial

import torch
from golden.compare import Comparison, deviation, differing, largest, prefixed, tensor
from torch import Tensor, nn

from methods.contract import Segmentor
from methods.networks.encoders.mit import MixTransformer
from methods.networks.encoders.resnet import DilatedResNet
from methods.networks.heads.daformer import DAFormerHead
from methods.networks.heads.dlv2 import DLV2Head
from methods.networks.segmentor import EncoderDecoder
from methods.parts.augment import MEAN, STD
from methods.parts.losses import upsample

DAFORMER = "a_daformer_tiny.npz"
DEEPLAB = "a2_dlv2_r50tiny.npz"
DIMS = (16, 32, 40, 64)


def normalise(image: Tensor) -> Tensor:
    """uint8 RGB (B, 3, H, W) -> ImageNet-normalised floats."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (MEAN, STD))
    return (image.float() - mean) / std


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reference's parameter names -> ours."""
    ours = {"backbone.": "encoder.", "decode_head.": "head."}
    for theirs, mine in ours.items():
        state = {name.replace(theirs, mine, 1): value for name, value in state.items()}
    return state


def tiny_daformer() -> Segmentor:
    """The golden files' DAFormer network, without dropout and drop-path."""
    encoder = MixTransformer(DIMS, (1, 1, 1, 1), (1, 2, 5, 8), drop_path_rate=0)
    head = DAFormerHead(DIMS, 19, channels=32, dropout=0)
    network = EncoderDecoder("tiny", encoder, head)
    network.num_classes = 19
    network.load_state_dict(renamed(prefixed(DAFORMER, "sd.")))
    return network


def tiny_deeplab(dilations: tuple[int, ...], head_prefix: str) -> Segmentor:
    """The golden files' DeepLab-V2 on a narrow ResNet-50."""
    encoder = DilatedResNet((3, 4, 6, 3), channels=(4, 8, 16, 32), stem_width=4)
    head = DLV2Head(encoder.channels, 19, dilations)
    network = EncoderDecoder("tiny", encoder, head)
    network.num_classes = 19
    backbone = list(prefixed(DEEPLAB, "sd.backbone.").values())
    # timm names the stem's layers differently and keeps their order.
    names = encoder.state_dict().keys()
    encoder.load_state_dict(dict(zip(names, backbone, strict=True)))
    head.load_state_dict(prefixed(DEEPLAB, f"{head_prefix}.decode_head."))
    return network


@torch.no_grad()
def daformer_maps(image: str, prefix: str) -> float:
    network = tiny_daformer().eval()
    output = network(normalise(tensor(DAFORMER, image)))
    expected = [tensor(DAFORMER, f"{prefix}feat{i}") for i in (1, 2, 3, 4)]
    expected.append(tensor(DAFORMER, f"{prefix}head_logits"))
    return largest(zip([*output.features, output.logits], expected, strict=True))


@torch.no_grad()
def daformer_epsilons() -> float:
    """Maps of a network whose normalised inputs are so small that their epsilons show."""
    network = tiny_daformer().eval()
    for name, parameter in network.encoder.named_parameters():
        if ("patch_embed" in name and ".proj." in name) or ".attn.sr." in name:
            parameter.mul_(0.002)
    output = network(normalise(tensor(DAFORMER, "img_u8")))
    pairs = [(f[0], tensor(DAFORMER, f"eps_feat{i}_b0")) for i, f in enumerate(output.features, 1)]
    return largest([*pairs, (output.logits, tensor(DAFORMER, "eps_head_logits"))])


@torch.no_grad()
def daformer_prediction() -> float:
    network = tiny_daformer().eval()
    image = normalise(tensor(DAFORMER, "img_u8"))
    logits = upsample(network(image).logits, image.shape[-2:])
    return differing(logits.argmax(1), tensor(DAFORMER, "argmax"))


@torch.no_grad()
def daformer_batch_statistics() -> float:
    """Logits on batch statistics, and the running ones after that forward."""
    network = tiny_daformer().train()
    logits = network(normalise(tensor(DAFORMER, "img_u8"))).logits
    after = renamed(prefixed(DAFORMER, "train_after."))
    buffers = dict(network.named_buffers())
    return largest(
        [
            (logits, tensor(DAFORMER, "train_head_logits")),
            *((buffers[n], value) for n, value in after.items()),
        ]
    )


@torch.no_grad()
def deeplab_logits(dilations: tuple[int, ...], head_prefix: str, expected: str) -> float:
    network: nn.Module = tiny_deeplab(dilations, head_prefix)
    network.train("train" in expected)
    output = network(normalise(tensor(DEEPLAB, "img_u8")))
    return deviation(output.logits, tensor(DEEPLAB, expected))


@torch.no_grad()
def deeplab_maps() -> float:
    output = tiny_deeplab((6, 12), "sdred").eval()(normalise(tensor(DEEPLAB, "img_u8")))
    return largest((ours, tensor(DEEPLAB, f"feat{i}")) for i, ours in enumerate(output.features, 1))


ALL_DILATIONS = (6, 12, 18, 24)

COMPARISONS = [
    Comparison(
        "MiT + DAFormer head: stage maps, logits", DAFORMER, 1e-4,
        partial(daformer_maps, "img_u8", ""),
    ),
    Comparison(
        "the same, image of 75 x 109 pixels", DAFORMER, 1e-4,
        partial(daformer_maps, "odd_u8", "odd_"),
    ),
    Comparison("the same, inputs as small as LayerNorm's eps", DAFORMER, 1e-4, daformer_epsilons),
    Comparison("the same, predicted class of every pixel", DAFORMER, 1e-3, daformer_prediction),
    Comparison(
        "the same, BatchNorm in training mode and its buffers", DAFORMER, 1e-4,
        daformer_batch_statistics,
    ),
    Comparison("ResNet-50 (v1c, output stride 8): stage maps", DEEPLAB, 1e-4, deeplab_maps),
    Comparison(
        "DeepLab-V2, dilations 6, 12", DEEPLAB, 1e-4,
        partial(deeplab_logits, (6, 12), "sdred", "dlv2red_head_logits"),
    ),
    Comparison(
        "DeepLab-V2, dilations 6, 12, 18, 24", DEEPLAB, 1e-4,
        partial(deeplab_logits, ALL_DILATIONS, "sd", "dlv2_head_logits"),
    ),
    Comparison(
        "the same, BatchNorm in training mode", DEEPLAB, 1e-4,
        partial(deeplab_logits, ALL_DILATIONS, "sd", "dlv2_train_head_logits"),
    ),
]  # fmt: skip
