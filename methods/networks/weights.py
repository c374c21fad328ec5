"""Weights from and to files: every published format that the networks here have a use for.

NVlabs' MiT, mmsegmentation's MiT and ResNet v1c, Hugging Face's SegFormer, the training
checkpoints of DAFormer, HRDA and MIC, timm's networks, efficientnet_pytorch's, and our own
safetensors, in whatever a training tool wraps around them. Which one it is is seen from the names
of the parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from methods.contract import Segmentor
from methods.networks.checkpoint_files import read_content
from methods.networks.checkpoint_formats import convert
from methods.networks.checkpoint_shells import Which, network_in
from methods.networks.zoo import with_head_of_mmseg

#: Parameters whose first dimension is the number of classes.
_CLASSIFIER = re.compile(
    r"head\.(?:fusion\.)?(conv_seg|linear_pred|aspp_modules\.\d+\.conv)\.(weight|bias)$"
)

#: Parameters that mmsegmentation's SegFormer head has and the authors' has not: its names, ours.
_MMSEG_HEAD = (
    "decode_head.fusion_conv.conv.weight",
    "head.fusion_conv.conv.weight",
    "head.linear_c1.conv.weight",
)


def network_for(name: str, path: str | Path, which: Which = "student") -> str:
    """The network to build for a file's weights where `name` was asked for.

    A whole SegFormer of mmsegmentation needs its head: `segformer_mmseg_mitb0` for
    `segformer_mitb0`. Any other name, and one whose file is not to be read, stays as it is.
    """
    of_mmseg = with_head_of_mmseg(name)
    if of_mmseg == name:
        return name
    try:
        state, _ = network_in(read_content(Path(path), values=False), which)
    except (ValueError, OSError):  # loading says why
        return name
    return name if state.keys().isdisjoint(_MMSEG_HEAD) else of_mmseg


def load_weights(
    segmentor: Segmentor,
    path: str | Path,
    *,
    part: Literal["encoder", "all"] = "all",
    which: Which = "student",
) -> str:
    """Load a file into the network, completely or not at all, and say what the file was.

    `part="encoder"` takes the encoder's parameters only. `which` chooses the network out of a
    self-training checkpoint. Raises ValueError where the file cannot be read, lacks a parameter of
    that part, has one that the part has no place for, or one of another shape, of no plain floating
    values, or with a NaN or an infinity in it.
    """
    path = Path(path)
    expected = segmentor.state_dict()
    try:
        encoder = getattr(segmentor, "encoder", None)  # an ensemble has several
        reading = getattr(encoder, "from_published", None)
        parameters, origin = network_in(read_content(path), which, expected.keys())
        state, names = convert(parameters, expected.keys(), reading)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from None
    description = ", ".join(filter(None, (origin, names)))
    if part == "encoder":
        expected, state = _encoder_only(expected), _encoder_only(state)
    elif encoder and not any(key.startswith("head.") for key in state):
        raise ValueError(
            f"{path.name} ({description}) holds no segmentation head; expected a whole network. An "
            "encoder alone is what a training starts from: bench run --init FILE"
        )
    for key in expected.keys() - state.keys():
        if key.endswith("num_batches_tracked"):  # older files than that buffer; nothing reads it
            state[key] = expected[key]
    file = f"{path.name} ({description})"
    _check(file, segmentor.name, expected, state)
    _check_values(file, expected, state)
    segmentor.load_state_dict(state, strict=part == "all")
    return description


def save_weights(segmentor: Segmentor, path: str | Path, metadata: dict[str, str]) -> None:
    """Write the network's parameters and buffers as safetensors."""
    state = {k: v.detach().cpu().contiguous() for k, v in segmentor.state_dict().items()}
    save_file(state, path, metadata=metadata)
    _sort_metadata(Path(path))


def _sort_metadata(path: Path) -> None:
    """Write a safetensors file's metadata by name: the library's order differs from run to run."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:
            file.seek(8)
            file.write(text.ljust(size))


def read_metadata(path: str | Path) -> dict[str, str]:
    """What a safetensors file says of itself, as `save_weights` was told; nothing of others."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return {}


def _encoder_only(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith("encoder.")}


def _check(file: str, network: str, expected: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raise ValueError unless names and shapes are the same."""
    shapes = {
        key: f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if state[key].shape != expected[key].shape
    }
    problems: dict[str, Collection[str]] = {
        "it lacks": expected.keys() - state.keys(),
        "there is no place for": state.keys() - expected.keys(),
        "shapes differ at": shapes.values(),
    }
    misfits = [f"{problem} {_first(names)}" for problem, names in problems.items() if names]
    if not misfits:
        return
    remedy = "take the network that the file was made for (--student NETWORK)"
    if not state.keys().isdisjoint(_MMSEG_HEAD):
        remedy = (
            "its head is mmsegmentation's SegFormer head, with a norm and a ReLU a level; take "
            "--student segformer_mmseg_mitb0 .. b5, after its encoder, or that library's own "
            "network, --student mmseg:segformer/CONFIG"
        )
    elif len(misfits) == 1 and shapes and all(_CLASSIFIER.search(key) for key in shapes):
        theirs, ours = (len(weights[next(iter(shapes))]) for weights in (state, expected))
        remedy = (
            f"take a checkpoint of {ours} classes, this one has {theirs}; a training can start "
            "from its encoder (bench run --init FILE)"
        )
    raise ValueError(f"{file} does not fit {network}: {'; '.join(misfits)}. Remedy: {remedy}")


def _check_values(file: str, expected: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raise ValueError unless all are plain tensors of finite values, in the network's own type."""
    unusable = [(k, w) for k, v in state.items() if (w := _unusable(v, expected[k].dtype))]
    if unusable:
        key, reason = unusable[0]
        more = f" (and {len(unusable) - 1} more parameters)" if unusable[1:] else ""
        raise ValueError(f"{file} cannot be used: {key} {reason}{more}")


def _unusable(value: Tensor, dtype: torch.dtype) -> str:
    """What is wrong with a parameter that is to be of this type, "" for nothing."""
    for reason, is_so in {
        "is on no device (a meta tensor without values)": value.is_meta,
        "is sparse; save it dense (tensor.to_dense())": value.layout != torch.strided,
        "is quantised; save the network before quantisation": value.is_quantized,
    }.items():
        if is_so:
            return reason
    if not dtype.is_floating_point:
        return ""
    if not value.is_floating_point():
        return (
            f"holds {str(value.dtype).removeprefix('torch.')}, expected floating-point weights: "
            "save the network before quantisation"
        )
    broken = int((~value.to(dtype).isfinite()).sum())
    if not broken:
        return ""
    value_name = "NaN" if value.to(dtype).isnan().any() else "infinity"
    return (
        f"holds {value_name} in {broken} of its {value.numel()} values, expected finite ones: the "
        "training that wrote it has diverged; take an earlier checkpoint of it"
    )


def _first(names: Collection[str], count: int = 3) -> str:
    """The first few of many names."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(sorted(names)[:count]) + more
