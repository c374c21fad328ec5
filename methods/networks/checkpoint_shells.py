"""What training tools put around a network's weights, taken off in any order.

Pure functions on what a file holds. DataParallel, torch.compile, FSDP, Lightning, mmcv, mmengine,
timm, torch's AveragedModel and hand-written loops each save dictionaries in dictionaries, or put a
word before each parameter's name. Both are named after the same few words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from torch import Tensor, is_tensor

State = dict[str, Tensor]
Which = Literal["student", "ema_teacher"]

_AVERAGES = {"ema", "teacher", "averaged", "average", "avg", "swa", "shadow"}
_NETWORKS = {"model", "net", "network", "module", "student", "segmentor", "orig", "mod"}
_FILLERS = {"state", "dict", "weight", "weights", "param", "params", "parameters"}
_NO_NETWORK = {
    *("optimizer", "optimiser", "optim", "scheduler", "scaler", "criterion", "loss", "critic"),
    *("discriminator", "callbacks", "meta", "rng", "hub"),
}
#: Parts of a segmentation network: what stands beside them is a part too and no shell.
_PARTS = {"backbone", "encoder", "decode_head", "head", "segformer"}
#: Modules that wrap any part of a network and add their name to its parameters'.
_TRANSPARENT = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_DEEPEST = 16


def network_in(content: Any, which: Which, expected: Collection[str] = ()) -> tuple[State, str]:
    """One network's parameters out of what a checkpoint holds -> them, and what was taken off.

    `expected` are the names at which nothing is taken off any more. `which` chooses between a
    network and its moving average. Raises ValueError, which goes on from the file's name, where
    the file holds no parameters or not those of that network.
    """
    origin, averaged = "", False
    node = content
    for _ in range(_DEEPEST):
        groups = _groups(node, expected)
        averages, networks = _by_role(node, groups)
        if groups and not averages:  # torch's AveragedModel is all average
            averaged = averaged or "n_averaged" in node
        if which == "ema_teacher" and not averages:
            averages = _of_callbacks(node)
        if which == "ema_teacher" and averages and not averaged:
            name, node = next(iter(averages.items()))
            averaged = True
            origin = f"moving average {name!r}"
        elif networks:
            if averages and which == "student":
                origin = "self-training checkpoint, student"
            node = next(iter(networks.values()))
        elif averages and not averaged:
            raise ValueError(
                f"holds no student, only a moving average ({', '.join(map(repr, averages))}): "
                "take that with --part ema"
            )
        elif averages:
            node = next(iter(averages.values()))
        else:
            break
    state = _parameters(node)
    if not state:
        raise ValueError(f"holds no state_dict: expected parameters by name, found {_keys(node)}")
    state, buffers = _without_hook_buffers(state)
    if which == "ema_teacher" and not averaged:
        if not buffers:
            raise ValueError(
                "holds no ema teacher: no name in it speaks of one, such as 'ema_model' or "
                "'state_dict_ema'"
            )
        return state | buffers, "moving average of mmcv's EMAHook"
    if which == "ema_teacher":
        origin = f"ema teacher, {origin}" if origin else "ema teacher, AveragedModel"
    return state, origin


def _groups(node: Any, expected: Collection[str]) -> dict[str, Any]:
    """What a level holds by name: dictionaries, or else parameters by their names' first word."""
    if not isinstance(node, Mapping):
        return {}
    held = {k: v for k, v in node.items() if isinstance(k, str) and _holds_tensors(v, set())}
    if held:
        return held
    state = _parameters(node)
    if state.keys() == set(expected):
        return {}
    grouped: dict[str, State] = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if rest:
            grouped.setdefault(first, {})[rest] = value
    return {} if grouped.keys() & _PARTS else grouped


def _by_role(node: Any, groups: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(moving averages, networks) among the groups, the likeliest first."""
    averages: dict[str, Any] = {}
    networks: dict[str, Any] = {}
    for name, group in groups.items():
        words = _words(name)
        if not words or words - _AVERAGES - _NETWORKS - _FILLERS:
            continue
        (averages if words & _AVERAGES else networks)[name] = group
    if _of_mmengine(node):
        # Its hook saves the average as the network, and the network as the average.
        averages, networks = {"state_dict": node["state_dict"]}, {"": node["ema_state_dict"]}
    others = [k for k in groups if isinstance(node.get(k), Mapping) and not _words(k) & _NO_NETWORK]
    if not averages and not networks and len(others) == 1:
        networks[others[0]] = groups[others[0]]
    students = {name: networks[name] for name in networks if "student" in _words(name)}
    return averages, students | networks


def _of_mmengine(node: Any) -> bool:
    return isinstance(node, Mapping) and all(
        key in node for key in ("message_hub", "state_dict", "ema_state_dict")
    )


def _of_callbacks(node: Any) -> dict[str, Any]:
    """Averages that a callback of Lightning keeps."""
    callbacks = node.get("callbacks") if isinstance(node, Mapping) else None
    averages: dict[str, Any] = {}
    for callback in callbacks.values() if isinstance(callbacks, Mapping) else ():
        if isinstance(callback, Mapping):
            averages |= _by_role(callback, _groups(callback, ()))[0]
    return averages


def _words(name: str) -> set[str]:
    """`modelTeacher`, `model_teacher` -> model, teacher."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)}


def _holds_tensors(value: Any, seen: set[int]) -> bool:
    if not isinstance(value, Mapping) or id(value) in seen:
        return False
    seen.add(id(value))
    return any(is_tensor(item) or _holds_tensors(item, seen) for item in value.values())


def _parameters(node: Any) -> State:
    if not isinstance(node, Mapping):
        return {}
    tensors = {k: v for k, v in node.items() if isinstance(k, str) and is_tensor(v)}
    return {_TRANSPARENT.sub("", key): value for key, value in tensors.items()}


def _without_hook_buffers(state: State) -> tuple[State, State]:
    """(the parameters, their averages that mmcv's EMAHook keeps beside them: `ema_backbone_...`)"""
    buffers = {f"ema_{key.replace('.', '_')}": key for key in state if "." in key}
    averages = {buffers[key]: value for key, value in state.items() if key in buffers}
    return {key: value for key, value in state.items() if key not in buffers}, averages


def _keys(node: Any) -> str:
    if not isinstance(node, Mapping):
        return f"a {type(node).__name__}"
    return f"the keys {_few(map(repr, node))}" if node else "nothing"


def _few(names: Iterable[str], count: int = 5) -> str:
    names = [name[:60] for name in names]
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if names[count:] else "")
