"""Weights from and to files: every published format that the networks here have a use for.

NVlabs' MiT, mmsegmentation's MiT and ResNet v1c, Hugging Face's SegFormer, the training
checkpoints of DAFormer, HRDA and MIC, timm's networks, efficientnet_pytorch's, and our own
safetensors. Which one it is is seen from the names of the parameters.
"""

from __future__ import annotations

import pickle
import re
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, is_tensor

from methods.contract import Segmentor
from methods.networks.checkpoint_formats import Which, convert

#: Parameters whose first dimension is the number of classes.
_CLASSIFIER = re.compile(r"head\.(conv_seg|linear_pred|aspp_modules\.\d+\.conv)\.(weight|bias)$")


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
    that part, has one that the part has no place for, or one of another shape.
    """
    path = Path(path)
    expected = segmentor.state_dict()
    try:
        reading = getattr(segmentor.encoder, "from_published", None)
        state, description = convert(read_state(path), expected.keys(), which, reading)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from None
    if part == "encoder":
        expected, state = _encoder_only(expected), _encoder_only(state)
    elif not any(key.startswith("head.") for key in state):
        raise ValueError(
            f"{path.name} ({description}) holds no segmentation head: load it with part='encoder'"
        )
    for key in expected.keys() - state.keys():
        if key.endswith("num_batches_tracked"):  # older files than that buffer; nothing reads it
            state[key] = expected[key]
    _check(f"{path.name} ({description})", segmentor.name, expected, state)
    segmentor.load_state_dict(state, strict=part == "all")
    return description


def save_weights(segmentor: Segmentor, path: str | Path, metadata: dict[str, str]) -> None:
    """Write the network's parameters and buffers as safetensors."""
    state = {k: v.detach().cpu().contiguous() for k, v in segmentor.state_dict().items()}
    save_file(state, path, metadata=metadata)


def read_metadata(path: str | Path) -> dict[str, str]:
    """What a safetensors file says of itself, as `save_weights` was told; nothing of others."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return {}


def read_state(path: Path) -> dict[str, Tensor]:
    """The file's parameters by the names it gives them. Pickles may hold tensors and plain data.

    Raises ValueError whose message goes on from the file's name.
    """
    if not path.is_file():
        raise ValueError(f"is not there: no file {path}")
    try:
        return load_file(path)
    except SafetensorError:  # so it is one of torch's; suffixes say little (.pth, .pt, .bin, .ckpt)
        content = _unpickle(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(map(is_tensor, content.values())):
        raise ValueError("holds no state_dict: expected parameters by name")
    return dict(content)


def _unpickle(path: Path) -> Any:
    if tarfile.is_tarfile(path):  # torch before 2.6 runs what is in it, `weights_only` or not
        raise ValueError(
            "is a tar archive, as torch wrote before 2017, and loading that could run any program: "
            "save its state_dict again with a newer torch where you trust it, and load that"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if foreign := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"holds {foreign[1]} besides tensors and plain data, and loading that could run "
                "any program: save its state_dict alone where you trust it, and load that"
            ) from None
        raise ValueError("is neither a safetensors nor a torch file") from None
    except Exception:  # a damaged pickle raises anything
        raise ValueError("is neither a safetensors nor a torch file") from None


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
    found = [f"{problem} {_first(names)}" for problem, names in problems.items() if names]
    if not found:
        return
    remedy = "take the network that the file was made for, or its encoder alone (part='encoder')"
    if len(found) == 1 and shapes and all(_CLASSIFIER.search(key) for key in shapes):
        classes = len(state[next(iter(shapes))])
        remedy = f"build the network with num_classes={classes}, or load part='encoder'"
    raise ValueError(f"{file} does not fit {network}: {'; '.join(found)}. To mend: {remedy}")


def _first(names: Collection[str], count: int = 3) -> str:
    """The first few of many names."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(sorted(names)[:count]) + more
