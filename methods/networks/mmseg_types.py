"""What a mmsegmentation config may build: registered types by their plain names, and no files.

mmengine imports and calls whatever a `type` names, and its models read any file or URL that they
are given. A config may come from an untrusted record, so it is checked before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

#: Registered types that call what their arguments name, or read files at once.
_UNSAFE = ("VPD", "Pretrained")
#: Arguments that say where files lie, which timm reads; those for weights alone are removed before.
_FILE_KEYS = ("cache_dir", "pretrained_cfg", "pretrained_cfg_overlay")
#: What a path, a URL or a name with an import in it has, and no other value of a model's.
_PATH = re.compile(r"[/\\:~.]")


def without_weights(config: Any) -> Any:
    """The config without weights to be fetched, and with BatchNorm that needs no process group."""
    if isinstance(config, list | tuple):
        return type(config)(map(without_weights, config))
    if not isinstance(config, dict):
        return config
    config = {key: without_weights(value) for key, value in config.items()}
    if "init_cfg" in config:
        config["init_cfg"] = _initialisers(config["init_cfg"])
    if config.get("type") in ("SyncBN", "MMSyncBN"):
        config["type"] = "BN"
    if config.get("type") == "TIMMBackbone":
        config["pretrained"] = None  # left out, it is True
    for key in ("pretrained", "checkpoint_path"):
        if config.get(key):
            config[key] = None
    return config


def _initialisers(init_cfg: Any) -> Any:
    """Those that draw weights. Some backbones read a `checkpoint` whatever the type is."""
    if isinstance(init_cfg, list | tuple):
        return [one for one in init_cfg if _initialisers(one) is not None] or None
    if isinstance(init_cfg, dict):
        weights = "checkpoint" in init_cfg or str(init_cfg.get("type")).startswith("Pretrained")
        return None if weights else init_cfg
    return init_cfg


def check(name: str, model: Any) -> None:
    """ValueError, with the key, for a value in the config that could run code or read a file.

    `model` holds the parts of the network `name`, as `without_weights` leaves them.
    """
    known = _registered()
    for key, value in _values(model):
        last = key.rpartition(".")[2]
        if last == "type":
            if isinstance(value, str) and value in known:
                continue
            _refuse(
                f"{name} needs more than mmsegmentation itself: {key} is {_short(value)}",
                "the plain name of a model, initialiser or sampler that it registers",
            )
        if last == "_scope_":
            _refuse(f"{name}: {key} is {_short(value)}", "no scope but mmsegmentation's own")
        if last in _FILE_KEYS and value:
            _refuse(f"{name}: {key} is {_short(value)}", "nothing that is read from a file")
        if last == "class_weight" and isinstance(value, str):
            _refuse(f"{name}: {key} is {value!r}, a file", "the weights themselves, a list")
        if last == "model_name":
            _check_timm(name, key, value)
        elif isinstance(value, str) and _PATH.search(value):
            _refuse(f"{name}: {key} is {_short(value)}", "no path, URL or import")
        elif not isinstance(value, str | int | float | dict | list | tuple | None):
            _refuse(f"{name}: {key} is {_short(value)}", "plain values, as JSON holds them")


@contextmanager
def registered_only() -> Iterator[None]:
    """Meanwhile mmengine finds registered types alone, and reads no file of weights.

    This holds for what `check` cannot see: types that a model makes of its other arguments.
    """
    from mmengine.registry import Registry
    from mmengine.runner.checkpoint import CheckpointLoader

    with (
        _replaced(Registry, "get", _registered_type),
        _replaced(CheckpointLoader, "load_checkpoint", staticmethod(_no_weights)),
    ):
        yield


@contextmanager
def _replaced(owner: type, name: str, value: Any) -> Iterator[None]:
    """Meanwhile the class has another attribute; afterwards what it had, wherever it came from."""
    missing = object()
    before = vars(owner).get(name, missing)  # as it is stored: a classmethod unbound
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _registered_type(registry: Any, key: str) -> Any:
    """In the place of Registry.get, which imports what is not registered."""
    within = registry
    while within is not None:
        if key in within.module_dict and key not in _UNSAFE:
            return within.module_dict[key]
        within = within.parent
    raise KeyError(f"{key!r} is no registered {registry.name}")


def _no_weights(filename: Any, *_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(f"it reads {filename!r} while it is built; expected no file: take that out")


def _registered() -> set[str]:
    """The plain names of all types that a network may be made of."""
    import mmseg.models  # noqa: F401  (registers every network)
    from mmseg.registry import MODELS, TASK_UTILS, WEIGHT_INITIALIZERS

    names: set[str] = set()
    for registry in (MODELS, TASK_UTILS, WEIGHT_INITIALIZERS):
        while registry is not None:
            names.update(registry.module_dict)
            registry = registry.parent
    return names - set(_UNSAFE)


def _values(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in the config, itself too, with its path: `decode_head.loss_decode.0.type`."""
    yield key, value
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = dict(enumerate(value)).items()
    else:
        return
    for step, inner in items:
        yield from _values(inner, f"{key}.{step}" if key else str(step))


def _check_timm(name: str, key: str, value: Any) -> None:
    """Names of timm's own networks; it also takes names of files and of repositories."""
    import timm

    if not (isinstance(value, str) and re.fullmatch(r"[\w.]+", value) and timm.is_model(value)):
        _refuse(f"{name}: {key} is {_short(value)}", "the plain name of a network of timm's")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse(found: str, expected: str) -> NoReturn:
    raise ValueError(f"{found}; expected {expected}: edit its config, or take another network")
