"""Any encoder of timm that can hand out its intermediate maps, plain ViTs included."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.networks.checkpoint_formats import State, efficientnet_names
from methods.networks.normalise import renormalisation
from methods.networks.tiles import joined, tiles

#: Blocks whose maps a plain ViT of so many gives, from 0; of others four at even distances.
#: Sources: UniMatch V2's of 12 blocks, Rein's and SoMA's of 24.
DEPTHS = {12: (2, 5, 8, 11), 24: (7, 11, 15, 23)}

#: Pixels of an image a token, by patches that divide no usual size. Source: VFM-UDA sees a crop of
#: 1024 pixels at 1120, in 80 tokens.
TOKEN = {14: 12.8}

#: What files of timm hold behind the last map, if the network that timm builds has it or not.
_TAIL = re.compile(r"(norm|fc_norm|head|head_dist|fc|classifier|pre_logits|conv_head|bn2)\b")


class TimmEncoder(nn.Module):
    """A timm network without its classifier, at random initialisation.

    Hierarchical networks give every map at stride 4 and coarser. A network of one stride (a plain
    ViT) gives the maps after the blocks `taps`, counted from 0, each through its final norm; by
    default four, DEPTHS; None: that after the last block. `size_multiple` is what the sides of an
    image must be multiples of; by default the coarsest stride, times the window of partitioned
    attention. One with patches of 14 pixels resizes an image that they do not divide (`fitting`).
    A network made for one size of image alone sees a larger one in tiles of that size, each by
    itself. Images come normalised by ImageNet's mean and deviation, as everywhere here; where
    timm says that the network's weights expect others, its trunk sees the image by those. Other
    keywords go to timm.create_model. Raises ValueError for what timm does not know.
    """

    def __init__(
        self,
        model: str,
        size_multiple: int | None = None,
        taps: Sequence[int] | None = (),
        **model_args: Any,
    ) -> None:
        super().__init__()
        self.trunk = _create(model, model_args)
        self.whole_names = list(self.trunk.state_dict())  # before anything is pruned
        # Some networks hold a list of dictionaries, others timm's FeatureInfo around one.
        info = getattr(self.trunk.feature_info, "info", self.trunk.feature_info)
        strides = [stage["reduction"] for stage in info]
        self.one_stride = len(set(strides)) == 1
        self.indices = _tapped(model, len(info), taps) if self.one_stride else _stages(strides)
        if taps != () and not self.one_stride:
            raise ValueError(f"timm:{model} has stages, and gives the map of each: name no taps")
        self.channels = [info[i]["num_chs"] for i in self.indices]
        self.renormalise = renormalisation(
            self.trunk.pretrained_cfg["mean"], self.trunk.pretrained_cfg["std"]
        )
        self.normed = self.one_stride and _has_final_norm(self.trunk)
        self.trunk.prune_intermediate_layers(
            self.indices, prune_norm=not self.normed, prune_head=True
        )
        windows = [max(getattr(module, "partition_size", (1,))) for module in self.modules()]
        self.size_multiple = size_multiple or max(strides) * max(windows)
        self.tile: int | None = None
        if self.trunk.pretrained_cfg["fixed_input_size"]:
            self.tile = _only_size(model, model_args, self.size_multiple)
            self.size_multiple = self.tile or self.size_multiple
        self.patch: int | None = None
        if self.one_stride and self.size_multiple in TOKEN and not self.tile:
            self.patch, self.size_multiple = self.size_multiple, 1

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
            (self._kept(state), "encoder of timm"),
            (
                self._kept(efficientnet_names(state, self.whole_names)),
                "encoder of efficientnet_pytorch",
            ),
            (self._kept(_filtered(state, self.trunk)), "encoder that timm converts"),
        ]
        complete = [r for r in readings if all(name in r[0] for name in trunk if _needed(name))]
        # What only a pretraining needs, such as DINOv2's mask token, timm leaves out.
        exact = [r for r in complete if r[0].keys() <= trunk]
        partial = [r for r in readings if not trunk.isdisjoint(r[0])]
        if not complete + partial:
            return None
        kept, description = (exact + complete + partial)[0]
        return {f"trunk.{name}": value for name, value in kept.items()}, description

    def _kept(self, state: State) -> State:
        """What of a file is the trunk's: its classifier and stages behind the last map go."""
        trunk = set(self.trunk.state_dict())
        pruned = set(self.whole_names) - trunk
        if self.normed:  # where it is behind the pooling in timm's network
            state = {name.replace("fc_norm.", "norm.", 1): v for name, v in state.items()}
        return {
            name: value
            for name, value in state.items()
            if name in trunk or not (name in pruned or _TAIL.match(name))
        }

    def _maps(self, image: Tensor) -> list[Tensor]:
        image = self.renormalise(image)
        if self.patch:
            image = fitting(image, self.patch)
        norm = {"norm": True} if self.normed else {}
        return self.trunk.forward_intermediates(
            image, indices=self.indices, output_fmt="NCHW", intermediates_only=True, **norm
        )


def fitting(image: Tensor, patch: int) -> Tensor:
    """The image (B, C, H, W) itself where patches divide it, else resized to a size that they do.

    That is the nearest to TOKEN times its own: 1024 pixels become 1120 for patches of 14.
    """
    sides = image.shape[2:]
    if not any(side % patch for side in sides):
        return image
    size = [max(round(side / TOKEN[patch]), 1) * patch for side in sides]
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


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


def _stages(strides: Sequence[int]) -> list[int]:
    """Indices of the stages whose maps are used, out of their strides."""
    return [i for i, stride in enumerate(strides) if stride >= 4]


def _tapped(model: str, depth: int, taps: Sequence[int] | None) -> list[int]:
    """Blocks whose maps are used, of a network of so many. ValueError for one that it has not."""
    if taps is None:
        return [depth - 1]
    count = min(4, depth)
    even = [(i + 1) * depth // count - 1 for i in range(count)]
    blocks = list(taps) or list(DEPTHS.get(depth, even))
    if max(blocks) >= depth or len(blocks) > 4:
        raise ValueError(
            f"timm:{model} has {depth} blocks; expected the numbers of one to four of them, from 0 "
            f"to {depth - 1}, not {'-'.join(map(str, blocks))}"
        )
    return blocks


def _has_final_norm(trunk: Any) -> bool:
    """Whether its maps can go through its final norm, taken from behind the pooling if need be."""
    if isinstance(getattr(trunk, "norm", None), nn.Identity):
        trunk.norm = getattr(trunk, "fc_norm", None) or trunk.norm
    norm = getattr(trunk, "norm", None)
    takes = inspect.signature(trunk.forward_intermediates).parameters
    return norm is not None and not isinstance(norm, nn.Identity) and "norm" in takes
