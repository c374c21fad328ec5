"""Any encoder of timm that can hand out its intermediate maps, plain ViTs included."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from methods.networks.checkpoint_formats import State, efficientnet_names
from methods.networks.tiles import joined, tiles

#: What files of timm hold behind the last map, if the network that timm builds has it or not.
_TAIL = re.compile(r"(norm|fc_norm|head|head_dist|fc|classifier|pre_logits|conv_head|bn2)\b")


class TimmEncoder(nn.Module):
    """A timm network without its classifier, at random initialisation.

    Hierarchical networks give every map at stride 4 and coarser. A network of one stride (a plain
    ViT) gives four maps at even distances in depth. `size_multiple` is what the sides of an image
    must be multiples of; by default the coarsest stride, times the window of partitioned attention.
    A network made for one size of image alone sees a larger one in tiles of that size, each by
    itself. Images come normalised by ImageNet's mean and deviation, as everywhere here; where
    timm says that the network's weights expect others, its trunk sees the image by those. Other
    keywords go to timm.create_model. Raises ValueError for what timm does not know.
    """

    def __init__(self, model: str, size_multiple: int | None = None, **model_args: Any) -> None:
        super().__init__()
        self.trunk = _create(model, model_args)
        self.whole_names = list(self.trunk.state_dict())  # before anything is pruned
        # Some networks hold a list of dictionaries, others timm's FeatureInfo around one.
        info = getattr(self.trunk.feature_info, "info", self.trunk.feature_info)
        strides = [stage["reduction"] for stage in info]
        self.indices = _chosen_stages(strides)
        self.channels = [info[i]["num_chs"] for i in self.indices]
        self.renormalise = _renormalisation(self.trunk.pretrained_cfg)
        self.trunk.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)
        windows = [max(getattr(module, "partition_size", (1,))) for module in self.modules()]
        self.size_multiple = size_multiple or max(strides) * max(windows)
        self.tile: int | None = None
        if self.trunk.pretrained_cfg["fixed_input_size"]:
            self.tile = _only_size(model, model_args, self.size_multiple)
            self.size_multiple = self.tile or self.size_multiple

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: (B, 3, H, W) -> one (B, c_i, h_i, w_i) map a stage, finest first."""
        if self.tile is None:
            return self._maps(image)
        rows, columns = (side // self.tile for side in image.shape[2:])
        return [joined(x, rows, columns) for x in self._maps(tiles(image, self.tile))]

    def from_published(self, state: State) -> tuple[State, str] | None:
        """A published file's parameters by this encoder's names, and what the file was.

        Classifiers and stages behind the last map are left out. None where not one name in it is
        timm's, by itself, as efficientnet_pytorch spells it, or as timm's own filter reads it.
        """
        trunk = set(self.trunk.state_dict())
        readings = [
            (state, "encoder of timm"),
            (efficientnet_names(state, self.whole_names), "encoder of efficientnet_pytorch"),
            (_filtered(state, self.trunk), "encoder that timm converts"),
        ]
        complete = [r for r in readings if all(name in r[0] for name in trunk if _needed(name))]
        partial = [r for r in readings if not trunk.isdisjoint(r[0])]
        if not complete + partial:
            return None
        chosen, description = (complete + partial)[0]
        pruned = set(self.whole_names) - trunk
        kept = {
            name: value
            for name, value in chosen.items()
            if name in trunk or not (name in pruned or _TAIL.match(name))
        }
        return {f"trunk.{name}": value for name, value in kept.items()}, description

    def _maps(self, image: Tensor) -> list[Tensor]:
        image = self.renormalise(image)
        return self.trunk.forward_intermediates(
            image, indices=self.indices, output_fmt="NCHW", intermediates_only=True
        )


class Renormalise(nn.Module):
    """An image (B, 3, H, W) from one mean and deviation of its channels to another's.

    The same colours stay the same, so that zeros from padding remain the first one's mean colour.
    Its constants are no parameters and in no file: they belong to the network's name.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        new_mean: Sequence[float],
        new_std: Sequence[float],
    ) -> None:
        super().__init__()
        deviation = torch.tensor(new_std)
        scale = torch.tensor(std) / deviation
        shift = (torch.tensor(mean) - torch.tensor(new_mean)) / deviation
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return torch.addcmul(self.shift, image, self.scale)


def _renormalisation(config: Mapping[str, Any]) -> nn.Module:
    """From ImageNet's mean and deviation to those that timm gives for the network's weights."""
    mean, std = config["mean"], config["std"]
    if (tuple(mean), tuple(std)) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD) or len(mean) != 3:
        return nn.Identity()
    return Renormalise(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, mean, std)


def names() -> list[str]:
    """Networks of timm out of the families that can hand out their intermediate maps."""

    def can(family: str) -> bool:
        return any(
            hasattr(member, "forward_intermediates")
            for member in vars(sys.modules[family]).values()
        )

    families = {name: timm.model_entrypoint(name).__module__ for name in timm.list_models()}
    able = {family for family in set(families.values()) if can(family)}
    return [name for name, family in families.items() if family in able]


def published(model: str) -> tuple[tuple[str, ...], str | None]:
    """(names of files, Hugging Face model) of the network's weights, as far as timm knows them.

    A file may be named after the network and its tag besides: resnet18.a1_in1k.safetensors.
    """
    config = timm.get_pretrained_cfg(model, allow_unregistered=True)
    if config is None or not config.has_weights:
        return (), None
    tagged = ".".join(filter(None, (config.architecture, config.tag)))
    files = [f"{tagged}.safetensors", f"{tagged}.pth"]
    if isinstance(config.url, str) and config.url.endswith(".pth"):
        files.insert(0, config.url.rpartition("/")[2])
    return tuple(files), config.hf_hub_id


def _needed(name: str) -> bool:
    return not name.endswith("num_batches_tracked")  # older files than that buffer lack it


def _filtered(state: State, trunk: nn.Module) -> State:
    """The file as timm renames it before it loads it into a network of this family."""
    rename = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    try:
        return dict(rename(dict(state), trunk)) if rename else {}
    except Exception:  # written for the files of its family: others fail in any way
        return {}


def _create(model: str, model_args: dict[str, Any]) -> Any:
    """Build the network so that it takes images of any size, where it has a switch for that."""
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=1, cutoff=0.0)[0]
        raise ValueError(f"timm has no network {model!r}: did you mean 'timm:{close}'?")
    switches: list[dict[str, Any]] = [{"dynamic_img_size": True}, {"strict_img_size": False}, {}]
    for any_size in switches:
        try:
            trunk = timm.create_model(model, pretrained=False, **{**any_size, **model_args})
        except TypeError as error:  # a switch of another family, or a keyword of the user's
            reason = error
        except RuntimeError as error:  # a tag behind the name that it does not know, most often
            raise ValueError(f"timm:{model} cannot be built: {_tags(model) or error}") from error
        else:
            if hasattr(trunk, "forward_intermediates"):
                return trunk
            raise ValueError(f"timm:{model} cannot hand out its intermediate maps: choose another")
    raise ValueError(f"timm:{model} refuses {', '.join(model_args)}: {reason}") from reason


def _tags(model: str) -> str:
    """What tags the network has, where the one behind its name is none of them; else ""."""
    network, _, tag = model.partition(".")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{network}.*")]
    if not tag or tag in tags:
        return ""
    there = f"there are {', '.join(tags)}" if tags else "it has none"
    return f"{network} has no tag {tag!r}; {there}, and without a tag it is the same network"


def _only_size(model: str, model_args: dict[str, Any], multiple: int) -> int | None:
    """The side of the square images that the network is bound to; None where it takes others too.

    timm marks more networks as bound than are, so one without storage is tried.
    """
    with torch.device("meta"), torch.no_grad():
        trunk = _create(model, model_args).eval()
        side = model_args.get("img_size", max(trunk.pretrained_cfg["input_size"][1:]))
        try:
            trunk.forward_intermediates(torch.zeros(1, 3, side + multiple, side + 2 * multiple))
        except Exception:  # each family fails in its own way
            return side
        return None


def _chosen_stages(strides: Sequence[int]) -> list[int]:
    """Indices of the maps to use, out of their strides."""
    if len(set(strides)) > 1:
        return [i for i, stride in enumerate(strides) if stride >= 4]
    count = min(4, len(strides))
    return [(i + 1) * len(strides) // count - 1 for i in range(count)]
