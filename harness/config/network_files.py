"""Networks made of a config file of the user's: a run names them by content, not by folder."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import BenchError, explained, in_one_line, shortened
from harness.files import content_hash
from methods.networks import zoo

if TYPE_CHECKING:
    from methods.contract import Segmentor


log = logging.getLogger(__name__)

#: How `pinned` names the network of a config file.
_PINNED = re.compile(r"mmseg:[^/\\]+\.py@([0-9a-f]{10})")


def pinned(name: str) -> str:
    """`mmseg:FOLDER/NAME.py` as `mmseg:NAME.py@HASH`, which the zoo builds from now on.

    Any other name stays as it is. BenchError when the file is no config of a network. The file is
    a program, which is run: names that the user did not give go through `recorded` instead.
    """
    if name.startswith(zoo.TWO_SCALES):
        return zoo.TWO_SCALES + pinned(zoo.one_scale(name))
    if not (name.startswith("mmseg:") and name.endswith(".py")):
        return name
    _warn(name.removeprefix("mmseg:"))
    try:
        config = json.loads(json.dumps(zoo.read_config(name)))  # as another process will read it
    except (ValueError, TypeError) as error:
        raise BenchError(f"{error}.") from error
    file = name.removeprefix("mmseg:").replace("\\", "/").rpartition("/")[2]
    pinned_name = f"mmseg:{file}@{content_hash(config)}"
    zoo.CONFIGS[pinned_name] = config
    return pinned_name


@cache
def _warn(file: str) -> None:
    """Once a process, before the file is run for the first time."""
    if not Path(file).is_file():  # reading it says so
        return
    log.warning("%s is a Python program and is run now: give only a file that you trust", file)


def recorded(name: str) -> str:
    """The name that a record or a file of weights gives. BenchError for that of a config file.

    Whoever wrote it must not choose a program that is run here.
    """
    network = name
    while network.startswith(zoo.TWO_SCALES):
        network = zoo.one_scale(network)
    if network.startswith("mmseg:") and network.endswith(".py"):
        raise BenchError(
            f"the network {name} of a record or checkpoint is a config file, which would be run; "
            "expected one by its content, mmseg:NAME.py@HASH. Where you trust the file, name it "
            "yourself: --student."
        )
    return name


def outline(name: str, classes: int = 19) -> Segmentor:
    """The network, without storage for its parameters. BenchError when unknown."""
    try:
        network = without_storage(name, classes)
    except ValueError as error:
        raise BenchError(f"{error}.") from error
    if name.startswith("timm:"):
        _check_sizes(network)
    return network


def without_storage(name: str, classes: int) -> Segmentor:
    """The network on torch's device meta. ValueError when unknown."""
    import torch

    # Some of mmsegmentation's read numbers off tensors while they are built.
    with torch.device("cpu" if zoo.one_scale(name).startswith("mmseg:") else "meta"):
        return zoo.build(name, classes).to("meta")


def _check_sizes(network: Segmentor) -> None:
    """BenchError unless the network takes images of a size that is not its own."""
    # A few cannot run without storage: what they say then tells nothing.
    reason = _failure(network) and _failure(zoo.build(network.name))
    if reason:
        raise BenchError(
            f"{network.name} does not take images of 190x97 ({reason}); expected an encoder for "
            "images of any size: choose another."
        )


@cache
def check_batch_of_one(name: str, crop: tuple[int, int]) -> None:
    """BenchError where the network's normalisation has too few values in one crop (height, width).

    Other failures tell nothing: not every network can run without storage.
    """
    import torch

    network = outline(name).train()
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *crop, device=device))
    except Exception as error:
        if reason := explained(error):
            raise BenchError(f"{name}: {reason}") from error


@cache
def check_parts(name: str, freeze_encoder: int | str, lora_rank: int, norm_eval: bool) -> None:
    """BenchError where the network's encoder has not what is to stand still, or to be adapted."""
    if freeze_encoder == "none" and not lora_rank and not norm_eval:
        return
    from methods.networks.freezing import freeze, hold_statistics
    from methods.networks.lora import attention_layers

    network = outline(name)
    try:
        if freeze_encoder != "none":
            freeze(network, freeze_encoder)
        if lora_rank:
            attention_layers(network)
        if norm_eval and not hold_statistics(network):
            raise ValueError(
                f"norm_eval=true: the encoder of {name} has no batch norms; expected one that has, "
                "or false"
            )
    except ValueError as error:
        raise BenchError(f"--set {error}.") from error
    except Exception:  # it cannot run without storage: the training tells
        return


def _failure(network: Segmentor) -> str:
    """What is wrong with the features of an odd-sized image; "" when nothing is."""
    import torch

    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.features(torch.zeros(2, 3, 97, 190, device=device))
    except Exception as error:  # each family of timm fails in its own way
        return in_one_line(error)[:120] or type(error).__name__
    return ""


def configs(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What those of the names that `pinned` made stand for, at whatever scales they are seen."""
    return {name: zoo.CONFIGS[name] for name in map(zoo.one_scale, names) if name in zoo.CONFIGS}


#: The key of a weight file's metadata that holds its network's config, where that was a file.
NETWORKS = "networks"


def as_metadata(name: str) -> dict[str, str]:
    """What a file of weights says of its network, so that it can be built from the file alone."""
    own = configs([name])
    return {"network": name} | ({NETWORKS: json.dumps(own, sort_keys=True)} if own else {})


def register_said(metadata: dict[str, str], file: str) -> None:
    """Register what `as_metadata` wrote. BenchError where the file says something else."""
    text = metadata.get(NETWORKS)
    if text is None:
        return
    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict) or not all(isinstance(own, dict) for own in known.values()):
        raise BenchError(
            f"{file}: its networks are {shortened(text)}; expected a table of configs by name, as "
            "a run writes it."
        )
    register(known)


def register(known: dict[str, dict[str, Any]]) -> None:
    """Make the zoo build these again, in another process or from a record.

    BenchError, and none is registered, for a name that is not of that content.
    """
    for name, config in known.items():
        match = _PINNED.fullmatch(name)
        if not match or match[1] != content_hash(config):
            raise BenchError(
                f"the network {name!r} of a record or checkpoint is not what its name says (its "
                f"config has the hash {content_hash(config)}); expected mmseg:NAME.py@HASH as a "
                "run wrote it. Take the file as it was."
            )
    zoo.CONFIGS.update(known)
