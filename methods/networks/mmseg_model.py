"""Any encoder and decode head that a mmsegmentation config describes, as a Segmentor."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Segmentor
from methods.networks import mmcv_ops
from methods.networks.segmentor import PaddedSegmentor


class MMSegModel(PaddedSegmentor):
    """mmsegmentation's backbone, neck (if any) and decode head.

    Its features are the backbone's. `fused` is what the head's classifier sees, before dropout.
    """

    def __init__(self, name: str, backbone: nn.Module, neck: nn.Module | None, head: Any) -> None:
        super().__init__(name, backbone, head, size_multiple=32)
        self.neck = neck if neck is not None else nn.Identity()
        self.feature_channels = _channels(backbone)
        self.fused_channels = head.conv_seg.in_channels

    def encode(self, image: Tensor) -> list[Tensor]:
        return list(self.encoder(image))

    def decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        fused: list[Tensor] = []
        last: nn.Module = self.head.dropout or self.head.conv_seg  # type: ignore[assignment]
        # For the length of the call only: a lasting hook would not survive a copy of the network.
        with last.register_forward_pre_hook(lambda _, inputs: fused.append(inputs[0])):
            logits = self.head(self.neck(features))
        if not fused:
            raise ValueError(f"{self.name}: {type(self.head).__name__} does not use its classifier")
        # Heads with auxiliary outputs of their own return the main one first.
        return (logits[0] if isinstance(logits, list | tuple) else logits), fused[-1]


def build(name: str, config_name: str, num_classes: int) -> Segmentor:
    """The network of a config in the mmseg package (no suffix) or of a config file (.py).

    Weights named in the config are not fetched: initialisation is random. Raises ValueError where
    there is no such config, or where its model is not one encoder and one decode head.
    """
    mmcv_ops.install()
    import mmseg.models  # noqa: F401  (registers every network)
    from mmengine.config import Config
    from mmseg.registry import MODELS

    model = _without_side_effects(Config.fromfile(_config_file(config_name)).model.to_dict())
    if model["type"] != "EncoderDecoder" or not isinstance(model["decode_head"], dict):
        raise ValueError(
            f"{name} is a {model['type']}: only an EncoderDecoder with one decode head is supported"
        )
    model["decode_head"]["num_classes"] = num_classes
    model["decode_head"].pop("out_channels", None)
    backbone, head = MODELS.build(model["backbone"]), MODELS.build(model["decode_head"])
    neck = MODELS.build(model["neck"]) if model.get("neck") else None
    if getattr(head, "conv_seg", None) is None:
        raise ValueError(
            f"{name}: {type(head).__name__} has no classifier conv_seg: choose another"
        )
    _initialise(part for part in (backbone, neck, head) if part is not None)
    return MMSegModel(name, backbone, neck, head)


def _config_file(config_name: str) -> Path:
    if config_name.endswith(".py"):
        path = Path(config_name)
    else:
        import mmseg

        path = Path(mmseg.__file__).parent / ".mim" / "configs" / f"{config_name}.py"
    if not path.is_file():
        raise ValueError(
            f"no config {path}: expected mmseg:FOLDER/NAME out of the mmseg package, without .py, "
            "or mmseg:PATH.py"
        )
    return path


def _without_side_effects(config: Any) -> Any:
    """The config without weights to be fetched, and with BatchNorm that needs no process group."""
    if isinstance(config, dict):
        config = {key: _without_side_effects(value) for key, value in config.items()}
        if (config.get("init_cfg") or {}).get("type") == "Pretrained":
            config["init_cfg"] = None
        if config.get("type") in ("SyncBN", "MMSyncBN"):
            config["type"] = "BN"
        if "pretrained" in config:
            config["pretrained"] = None
        return config
    if isinstance(config, list | tuple):
        return type(config)(map(_without_side_effects, config))
    return config


def _initialise(parts: Iterable[Any]) -> None:
    """mmengine's initialisation, without its log of several lines a parameter."""
    logging.disable(logging.WARNING)
    try:
        for part in parts:
            part.init_weights()
    finally:
        logging.disable(logging.NOTSET)


def _channels(backbone: nn.Module) -> list[int]:
    """Channels of every map, by a forward pass: backbones name them in too many ways."""
    backbone.eval()
    with torch.no_grad():
        device = next(backbone.parameters()).device
        maps = backbone(torch.zeros(1, 3, 64, 64, device=device))
    backbone.train()
    return [feature.shape[1] for feature in maps]
