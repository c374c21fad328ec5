"""Every network by name. Names and descriptions are to be had without importing torch."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from methods.networks.names import (
    AND,
    MMSEG,
    TIMM,
    TWO_SCALES,
    one_scale,
    tapped_blocks,
    timm_parts,
)

if TYPE_CHECKING:
    from methods.contract import Segmentor


@dataclass(frozen=True)
class NetworkSpec:
    """How a network of the zoo is built."""

    description: str
    encoder: str  # "module:function"
    encoder_args: Mapping[str, Any]
    head: str  # a key of HEADS
    head_args: Mapping[str, Any] = field(default_factory=dict)
    larger: str | None = None  # the network one size up
    pretrained: str = ""  # published ImageNet weights of the encoder, and where to get them
    files: tuple[str, ...] = ()  # names that their files have
    hub: str | None = None  # the Hugging Face model that holds them


HEADS = {
    "daformer": "methods.networks.heads.daformer:DAFormerHead",
    "segformer": "methods.networks.heads.segformer:SegFormerHead",
    "topdown": "methods.networks.heads.topdown:TopDownHead",
    "dlv2": "methods.networks.heads.dlv2:DLV2Head",
    "linear": "methods.networks.heads.linear:LinearHead",
    "upsample": "methods.networks.heads.pyramid:UpsampleHead",
}

#: Heads that fuse maps of several strides: where an encoder's have one, a pyramid is made of them.
FUSING = ("daformer", "segformer", "topdown")

_MIT = "methods.networks.encoders.mit:MixTransformer"
_RESNET = "methods.networks.encoders.resnet:DilatedResNet"


def _published() -> dict[str, NetworkSpec]:
    """The networks of the literature, at the sizes of their papers."""
    zoo = {}
    for head, title in (("daformer", "DAFormer head"), ("segformer", "all-MLP head of SegFormer")):
        for i in range(6):
            zoo[f"{head}_mitb{i}"] = NetworkSpec(
                f"MiT-B{i} with the {title}",
                "methods.networks.encoders.mit:mit",
                {"size": f"b{i}"},
                head,
                {"channels": 768} if head == "segformer" and i > 1 else {},
                larger=f"{head}_mitb{i + 1}" if i < 5 else None,
                pretrained=f"mit_b{i}.pth of NVlabs' SegFormer repository, or the Hugging Face "
                f"model nvidia/mit-b{i}",
                files=(f"mit_b{i}.pth",),
                hub=f"nvidia/mit-b{i}",
            )
    for i in range(6):
        name = f"segformer_mitb{i}"
        zoo[_of_mmseg(name)] = replace(
            zoo[name],
            description=f"MiT-B{i} with SegFormer's head as mmsegmentation has it: a norm a level",
            head_args={"channels": 256, "embedding": "conv_bn_relu"},
            larger=_of_mmseg(f"segformer_mitb{i + 1}") if i < 5 else None,
        )
    for depth, digest in ((50, "2cccc1ad"), (101, "e67eebb6")):
        folder = "https://download.openmmlab.com/pretrain/third_party"
        zoo[f"deeplabv2_r{depth}"] = NetworkSpec(
            f"DeepLab-V2: ResNet-{depth} at output stride 8, dilations 6 and 12",
            f"methods.networks.encoders.resnet:resnet{depth}",
            {},
            "dlv2",
            larger="deeplabv2_r101" if depth == 50 else None,
            pretrained=f"{folder}/resnet{depth}_v1c-{digest}.pth (the reference's), or the Hugging "
            f"Face model timm/resnet{depth}c.gluon_in1k",
            files=(f"resnet{depth}_v1c-{digest}.pth",),
            hub=f"timm/resnet{depth}c.gluon_in1k",
        )
    zoo["deeplabv2_r101_caffe"] = NetworkSpec(
        "DeepLab-V2 as AdaptSegNet and ADVENT publish it: Caffe's ResNet-101, dilations 6 and 12",
        "methods.networks.encoders.resnet:CaffeResNet",
        {"layers": (3, 4, 23, 3)},
        "dlv2",
        pretrained="AdaptSegNet's DeepLab_resnet_pretrained_init-f81d91e8.pth (ImageNet and COCO)",
        files=("DeepLab_resnet_pretrained_init-f81d91e8.pth",),
    )
    return zoo


def _of_mmseg(name: str) -> str:
    """The name of a network `segformer_*` with mmsegmentation's head in the place of its own."""
    return name.replace("segformer_", "segformer_mmseg_", 1)


def with_head_of_mmseg(name: str) -> str:
    """The network of that name with mmsegmentation's SegFormer head; itself where none is known."""
    return other if (other := _of_mmseg(name)) in NETWORKS else name


def _mini_mit(
    size: str,
    dims: tuple[int, ...],
    depths: tuple[int, ...],
    heads: tuple[int, ...],
    larger: str | None,
) -> NetworkSpec:
    return NetworkSpec(
        f"{size} Mix Transformer with the light top-down head, for training from scratch on a CPU",
        _MIT,
        {"embed_dims": dims, "depths": depths, "num_heads": heads, "drop_path_rate": 0.0},
        "topdown",
        larger=larger,
    )


NETWORKS: dict[str, NetworkSpec] = _published() | {
    "mini_xs": _mini_mit("very small", (16, 32, 64, 96), (1, 1, 1, 1), (1, 2, 4, 6), "mini_s"),
    "mini_s": _mini_mit("small", (32, 64, 128, 192), (1, 1, 1, 1), (1, 2, 4, 6), "mini_m"),
    "mini_m": _mini_mit("medium", (48, 96, 160, 256), (1, 1, 2, 1), (1, 2, 5, 8), "mini_l"),
    "mini_l": _mini_mit("large", (64, 128, 256, 384), (1, 2, 3, 1), (1, 2, 4, 6), None),
    "mini_deeplab": NetworkSpec(
        "small ResNet with the DeepLab-V2 head, for training from scratch on a CPU",
        _RESNET,
        {
            "layers": (1, 1, 1, 1),
            "bottleneck": False,
            "channels": (32, 64, 96, 128),
            "stem_width": 16,
        },
        "dlv2",
    ),
    "test_mit": NetworkSpec(
        "microscopic Mix Transformer for unit tests",
        _MIT,
        {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4)},
        "topdown",
        {"channels": 16},
        larger="mini_xs",
    ),
    "test_deeplab": NetworkSpec(
        "microscopic DeepLab-V2 for unit tests",
        _RESNET,
        {"layers": (1, 1, 1, 1), "bottleneck": False, "channels": (8, 8, 16, 16), "stem_width": 4},
        "dlv2",
        larger="mini_deeplab",
    ),
}


#: timm's networks by the one a size up: those whose weights the extra `imagenet` brings.
TIMM_LARGER = {
    "tf_efficientnet_lite0": "tf_efficientnet_lite1",
    "tf_efficientnet_lite1": "tf_efficientnet_lite2",
}

#: What timm's names begin with, before a colon, where they stand for no network of its own.
ELSEWHERE = ("hf-hub", "hf_hub", "local-dir", "http", "https")

#: Names "mmseg:..." that stand for a config at hand instead of a file, as `read_config` gives it.
CONFIGS: dict[str, dict[str, Any]] = {}


def names() -> list[str]:
    """Every registered name; "timm:NAME:HEAD:TAPS" and "mmseg:CONFIG" are taken besides."""
    return list(NETWORKS)


def foreign_names(library: str) -> list[str]:
    """Every name "timm:..." or "mmseg:..." of that library, which is imported for it."""
    if library == "timm":
        from methods.networks.encoders import timm

        known = timm.names()
    else:
        from methods.networks import mmseg_model

        known = mmseg_model.config_names()
    return [f"{library}:{name}" for name in known]


def read_config(name: str) -> dict[str, Any]:
    """What a network "mmseg:..." is made of, as CONFIGS holds it. Raises ValueError."""
    from methods.networks import mmseg_model

    return CONFIGS.get(name) or mmseg_model.read_config(name.removeprefix(MMSEG))


def describe(name: str) -> str:
    """One line on a network. Raises ValueError for an unknown name."""
    if name.startswith(TWO_SCALES):
        return f"{describe(_once_at_two_scales(name))}; at two scales, as HRDA"
    if name.startswith(MMSEG):
        config = name.removeprefix(MMSEG)
        is_file = name in CONFIGS or config.endswith(".py")
        return f"the config file {config}" if is_file else f"mmsegmentation's {config}"
    return _spec(name).description


def pretrained(name: str) -> str:
    """ImageNet weights that are published for the encoder, and where to get them; "" for none."""
    name = one_scale(name)
    return "" if name.startswith(MMSEG) else _spec(name).pretrained


def published(name: str) -> tuple[tuple[str, ...], str | None]:
    """(names of the files, Hugging Face model) of ImageNet weights of the encoder; none known: ().

    timm is imported for its networks.
    """
    name = one_scale(name)
    if name.startswith(MMSEG):
        return (), None
    spec = _spec(name)
    if name.startswith(TIMM):
        from methods.networks.encoders.timm import published as published_by_timm

        return published_by_timm(spec.encoder_args["model"])
    return spec.files, spec.hub


def one_size_up(name: str) -> str:
    """The next larger network of the same family. Raises ValueError where there is none."""
    name = one_scale(name)
    larger = None if name.startswith(MMSEG) else _spec(name).larger
    if larger is None:
        raise ValueError(
            f"the zoo has no network one size up from {name!r}: name the teacher: --teacher NETWORK"
        )
    return larger


def build(name: str, num_classes: int = 19, **overrides: Any) -> Segmentor:
    """The network of that name, at random initialisation.

    `head` chooses another head (a key of HEADS), `head_X` overrides the head's argument X, any
    other keyword the encoder's. Raises ValueError for unknown names and keywords.
    """
    network = _build(name, num_classes, overrides)
    network.num_classes = num_classes
    return network


def _build(name: str, num_classes: int, overrides: dict[str, Any]) -> Segmentor:
    if AND in name:
        from methods.networks.ensemble import Ensemble

        return Ensemble([build(one, num_classes, **overrides) for one in name.split(AND)])
    if name.startswith(TWO_SCALES):
        from methods.networks.multi_scale import MultiScale

        return MultiScale(build(_once_at_two_scales(name), num_classes, **overrides))
    if name.startswith(MMSEG):
        from methods.networks import mmseg_model

        if overrides:
            raise ValueError(f"{name} takes no {', '.join(overrides)}: copy and edit its config")
        return mmseg_model.build(name, read_config(name), num_classes)

    from methods.networks.segmentor import EncoderDecoder

    spec = _spec(name)
    head_name = overrides.pop("head", spec.head)
    if head_name not in HEADS:
        raise ValueError(f"unknown head {head_name!r}: expected one of {', '.join(HEADS)}")
    head_args = dict(spec.head_args) if head_name == spec.head else {}
    head_args |= {k.removeprefix("head_"): v for k, v in overrides.items() if k.startswith("head_")}
    encoder_args = dict(spec.encoder_args)
    encoder_args |= {k: v for k, v in overrides.items() if not k.startswith("head_")}
    encoder = _call(spec.encoder, name, encoder_args)
    head_args |= {"in_channels": encoder.channels, "num_classes": num_classes}

    def make_head(**arguments: Any) -> Any:
        return _call(HEADS[head_name], name, arguments)

    if head_name in FUSING and getattr(encoder, "one_stride", False):
        from methods.networks.heads.pyramid import PyramidHead

        return EncoderDecoder(name, encoder, PyramidHead(make_head=make_head, **head_args))
    return EncoderDecoder(name, encoder, make_head(**head_args))


def _once_at_two_scales(name: str) -> str:
    """What `one_scale` gives. Raises ValueError where that is at two scales itself."""
    network = one_scale(name)
    if network.startswith(TWO_SCALES):
        raise ValueError(f"{name}: {network} is at two scales already; expected one {TWO_SCALES}")
    return network


def _spec(name: str) -> NetworkSpec:
    if name in NETWORKS:
        return NETWORKS[name]
    if name.startswith(TIMM):
        model, head, taps = timm_parts(name, "daformer")
        if model in ELSEWHERE:
            raise ValueError(
                f"{name} names weights of the Hugging Face hub or of a folder; expected timm's own "
                "name of the network, such as timm:resnet18, and their file with --init FILE"
            )
        if head not in HEADS:
            raise ValueError(f"{name}: unknown head {head!r}, expected one of {', '.join(HEADS)}")
        encoder = "methods.networks.encoders.timm:TimmEncoder"
        description = f"timm's {model} with the head {head}"
        encoder_args: dict[str, Any] = {"model": model}
        if taps:
            try:
                encoder_args["taps"] = tapped_blocks(taps)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            description += f" on its {taps.replace('-', ', ')} block" + "s" * ("-" in taps)
        published = f"the Hugging Face model timm/{model}{'' if '.' in model else '.*'}"
        larger = TIMM_LARGER.get(model)
        return NetworkSpec(
            description,
            encoder,
            encoder_args,
            head,
            larger=larger and name.replace(model, larger, 1),
            pretrained=published,
        )
    near = map(repr, difflib.get_close_matches(name, NETWORKS, n=3, cutoff=0.0))
    raise ValueError(f"unknown network {name!r}: did you mean {' or '.join(near)}?")


def _call(target: str, name: str, arguments: dict[str, Any]) -> Any:
    """Import "module:function" and call it, after a check of the keywords."""
    module, function = target.split(":")
    factory: Callable[..., Any] = getattr(import_module(module), function)
    known = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    unknown = sorted(set(arguments) - set(known))
    if unknown and not takes_any:
        raise ValueError(
            f"{name}: {function} has no argument {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return factory(**arguments)
