"""Any encoder and decode head that a mmsegmentation config describes, as a Segmentor."""

from __future__ import annotations

import copy
import difflib
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Segmentor
from methods.networks import mmcv_ops, mmseg_types
from methods.networks.modes import evaluating
from methods.networks.normalise import renormalisation
from methods.networks.quiet import quiet
from methods.networks.segmentor import PaddedSegmentor
from methods.networks.tiles import joined, tiles


class MMSegModel(PaddedSegmentor):
    """mmsegmentation's backbone, neck (if any) and decode head.

    Its features are the backbone's. `fused` is what the head's classifier sees, before dropout.
    A backbone made for one size of image (BEiT, MAE) sees a larger one in tiles of that size. Any
    other sees the image itself; padded where it takes multiples of some number of pixels alone.
    The image is normalised as the config's data_preprocessor says.
    """

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        neck: nn.Module | None,
        head: Any,
        preprocessor: dict[str, Any] | None = None,
    ) -> None:
        tile, shapes = _map_shapes(backbone)
        super().__init__(name, backbone, head, size_multiple=tile or 1)
        self.neck = neck if neck is not None else nn.Identity()
        self.tile = tile
        self.renormalise = _renormalisation(preprocessor)
        # Some backbones (UNet) hand out the coarsest map first; heads know their own order.
        self.order = sorted(range(len(shapes)), key=lambda i: shapes[i][2], reverse=True)
        self.feature_channels = [shapes[i][1] for i in self.order]
        self.fused_channels = head.conv_seg.in_channels
        if tile is None:
            self.size_multiple = next((m for m in MULTIPLES if self._takes(m)), MULTIPLES[-1])

    @torch.no_grad()
    def _takes(self, multiple: int) -> bool:
        """Whether the network as a whole takes images whose sides are multiples of that alone."""
        device = next(self.parameters()).device
        sides = (math.ceil(side / multiple) | 1 for side in TRIAL)  # and of nothing more
        with evaluating(self):
            try:
                self.decode(
                    self.encode(torch.zeros(1, 3, *(n * multiple for n in sides), device=device))
                )
            except Exception:  # each network fails in its own way
                return False
        return True

    def encode(self, image: Tensor) -> list[Tensor]:
        image = self.renormalise(image)
        if self.tile is None:
            features = self.encoder(image)
        else:
            rows, columns = (side // self.tile for side in image.shape[2:])
            features = [joined(x, rows, columns) for x in self.encoder(tiles(image, self.tile))]
        return [features[i] for i in self.order]

    def decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        fused: list[Tensor] = []
        last: nn.Module = self.head.dropout or self.head.conv_seg  # type: ignore[assignment]
        # For the length of the call only: a lasting hook would not survive a copy of the network.
        with last.register_forward_pre_hook(lambda _, inputs: fused.append(inputs[0])):
            logits = self.head(
                self.neck([features[self.order.index(i)] for i in sorted(self.order)])
            )
        if not fused:
            raise ValueError(f"{self.name}: {type(self.head).__name__} does not use its classifier")
        # Heads with auxiliary outputs of their own return the main one first.
        return (logits[0] if isinstance(logits, list | tuple) else logits), fused[-1]


#: What of a config's model makes the network; the rest is for mmsegmentation's own training.
_PARTS = ("backbone", "neck", "decode_head")

#: What the config says of the images that its weights expect.
_NORMALISATION = "data_preprocessor"

#: What the sides of an image may have to be multiples of; most networks take any.
MULTIPLES = (1, 2, 4, 8, 16, 32)
#: Height and width of the images on which that is tried, or the next multiples.
TRIAL = (65, 91)


def build(name: str, model: dict[str, Any], num_classes: int) -> Segmentor:
    """The network of a model that `read_config` gave.

    Weights named in it are not fetched: initialisation is random. Raises ValueError where it needs
    what is not here, could run code or read files (see mmseg_types), or has no classifier of the
    usual kind.
    """
    if not all(isinstance(model.get(part), dict) for part in ("backbone", "decode_head")):
        raise ValueError(f"{name}: its config lacks a part; expected a backbone and a decode_head")
    mmcv_ops.install()
    with quiet():
        try:
            model = mmseg_types.without_weights(model)
            mmseg_types.check(name, model)
            backbone, neck, head = _build_parts(model, num_classes)
            if getattr(head, "conv_seg", None) is not None:
                return MMSegModel(name, backbone, neck, head, model.get(_NORMALISATION))
        except (ImportError, KeyError, TypeError, AttributeError) as error:
            raise _incomplete(name, error) from error
        except ValueError:
            raise
        except Exception as error:  # each model fails in its own way
            reason = str(error) or type(error).__name__
            raise ValueError(f"{name} cannot be built from its config: {reason}") from error
    raise ValueError(f"{name}: {type(head).__name__} has no classifier conv_seg: choose another")


def read_config(config_name: str) -> dict[str, Any]:
    """The model of a config in the mmseg package (no suffix) or of a config file (.py).

    A config file is a program, and this runs it: only the user may name one. What it inherits is
    included, what does not make the network is left out. Raises ValueError where there is no such
    config, or where its model is not one encoder and one decode head.
    """
    path = _config_file(config_name)
    mmcv_ops.install()
    with quiet():
        from mmengine.config import Config

        try:
            model = mmseg_types.without_weights(Config.fromfile(path).model.to_dict())
        except ImportError as error:
            raise _incomplete(f"mmseg:{config_name}", error) from error
        except Exception as error:  # a config is a program
            raise ValueError(f"mmseg:{config_name} cannot be read as a config: {error}") from error
    if model["type"] != "EncoderDecoder" or not isinstance(model["decode_head"], dict):
        raise ValueError(
            f"mmseg:{config_name} is a {model['type']}: only an EncoderDecoder with one decode "
            "head is supported"
        )
    preprocessor = model.get(_NORMALISATION) or {}
    kept = {key: model[key] for key in _PARTS if model.get(key)}
    if isinstance(_renormalisation(preprocessor), nn.Identity):
        return kept
    return kept | {_NORMALISATION: {key: preprocessor[key] for key in ("mean", "std")}}


def _renormalisation(preprocessor: dict[str, Any] | None) -> nn.Module:
    """From ImageNet's mean and deviation to those of a data_preprocessor, in grey levels."""
    if not preprocessor or not preprocessor.get("mean") or not preprocessor.get("std"):
        return nn.Identity()
    mean, std = ([round(v / 255, 6) for v in preprocessor[key]] for key in ("mean", "std"))
    return renormalisation(mean, std)


def _incomplete(name: str, error: Exception) -> ValueError:
    advice = ""
    if isinstance(error, ImportError) and error.name == "pkg_resources":  # mmengine imports it
        advice = '; setuptools 82 dropped it: pip install "setuptools<82"'
    return ValueError(f"{name} needs more than mmsegmentation itself: {error}{advice}")


def config_names() -> list[str]:
    """Every config in the mmseg package, as `FOLDER/NAME`."""
    folder = _packaged_configs()
    names = (path.relative_to(folder).with_suffix("") for path in folder.glob("*/*.py"))
    return sorted(name.as_posix() for name in names if name.parts[0] != "_base_")


def _build_parts(model: dict[str, Any], num_classes: int) -> tuple[Any, Any, Any]:
    """Backbone, neck or None, and decode head of a config that was checked, initialised."""
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS

    model = copy.deepcopy(model)
    model["decode_head"]["num_classes"] = num_classes
    model["decode_head"].pop("out_channels", None)
    with DefaultScope.overwrite_default_scope("mmseg"), mmseg_types.registered_only():
        parts = [MODELS.build(model[key]) for key in _PARTS if key in model]
        for part in parts:
            if hasattr(part, "init_weights"):  # Feature2Pyramid, the neck of plain ViTs, has none
                part.init_weights()
    backbone, *neck, head = parts
    return backbone, neck[0] if neck else None, head


def _config_file(config_name: str) -> Path:
    """Raises ValueError where there is none, with the nearest name of the package."""
    by_path = config_name.endswith(".py")
    path = Path(config_name) if by_path else _packaged_configs() / f"{config_name}.py"
    # A name without .py may come from anywhere: it must not lead out of the package.
    if path.is_file() and (by_path or re.fullmatch(r"\w[\w+-]*/\w[\w.+-]*", config_name)):
        return path
    if "@" in config_name:
        raise ValueError(f"mmseg:{config_name} stands for a config file: name it, mmseg:PATH.py")
    near = "" if by_path else difflib.get_close_matches(config_name, config_names(), 1, cutoff=0.0)
    raise ValueError(
        f"no config mmseg:{config_name}: expected mmseg:FOLDER/NAME out of the mmseg package, "
        "without .py, or mmseg:PATH.py" + (f"; did you mean 'mmseg:{near[0]}'?" if near else "")
    )


def _packaged_configs() -> Path:
    import mmseg

    return Path(mmseg.__file__).parent / ".mim" / "configs"


def _map_shapes(backbone: nn.Module) -> tuple[int | None, list[torch.Size]]:
    """Shape of every map of a small image, by trial: backbones state them in too many ways.

    Before them the side of the square images that the backbone is bound to, None for any size.
    """
    try:
        return None, _trial(backbone, 64)
    except RuntimeError:
        side = max(_pair(getattr(backbone, "img_size", 0)))
        if not side:
            raise
        return side, _trial(backbone, side)


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size,)


def _trial(backbone: nn.Module, side: int) -> list[torch.Size]:
    backbone.eval()
    with torch.no_grad():
        device = next(backbone.parameters()).device
        maps = backbone(torch.zeros(1, 3, side, side, device=device))
    backbone.train()
    return [x.shape for x in maps]
