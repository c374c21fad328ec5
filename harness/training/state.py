"""The state of a training between two steps: all that the next step depends on, exactly.

In memory it is tensors by name and plain values; on disk a folder of safetensors and JSON, both
verified by checksum when they are read. No code is stored, and none is run.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Size, Tensor, dtype

from harness.errors import BenchError
from harness.files import content_hash, file_hash, folder_written_whole, written_whole
from harness.training.distributed import copy_, everyones, share
from harness.training.trainer import Trainer
from methods.contract import Method
from methods.parts.ema import Frozen
from methods.parts.joined import processes, rank

TENSORS, VALUES = "tensors.safetensors", "values.json"


@dataclass
class State:
    """Tensors by name, and values that JSON can hold."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


class StateError(Exception):
    """A stored state is not what was written, or is of other networks or optimisers."""


def capture(trainer: Trainer) -> State:
    """The state of a trainer: networks, optimisers, gradient scaler, random streams.

    Its tensors are the trainer's own: it is to be saved before the next step. Networks that never
    learn are in it by the hash of their weights. Of several processes, which all are to call this,
    it holds this one's networks and the random streams of each.
    """
    networks = {f"method/{key}": value for key, value in learnt(trainer.method).items()}
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for key, tensor in networks.items():  # weights under several names are stored once
        view = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape)
        twin = first.setdefault((*view, tensor.stride()), key) if tensor.numel() else key
        if twin == key:
            tensors[key] = tensor
        else:
            shared[key] = twin
    plain: dict[str, Any] = {}
    for key, value in _optimiser_entries(trainer):
        if isinstance(value, Tensor):
            tensors[key] = value
        else:
            plain[key] = value
    (streams, stream_values), *others = everyones(random_streams(trainer))
    tensors |= streams
    for number, (further, _) in enumerate(others, 1):
        tensors |= {f"{_process(number)}{key}": stream for key, stream in further.items()}
    return State(
        tensors,
        {
            "shared": shared,
            "frozen": frozen_hashes(trainer.method),
            "optimisers": plain,
            "scaler": trainer.scaler.state_dict(),
            "random": stream_values,
            "random_of_others": [values for _, values in others],
        },
    )


def restore(trainer: Trainer, state: State) -> None:
    """Make a trainer that was built alike go on from a state. StateError where it was not.

    Nothing is changed where the networks differ.
    """
    check_fit(trainer.method, state)
    shared = state.values["shared"]
    with torch.no_grad():
        for key, tensor in learnt(trainer.method).items():
            if f"method/{key}" not in shared:
                tensor.copy_(state.tensors[f"method/{key}"])
    parameters = dict(_parameters(trainer))
    for optimiser in trainer.schedules:
        optimiser.state.clear()
    for key in state.tensors:
        owner, _, entry = key.partition("/")
        if owner == "optimiser":
            _restore_entry(parameters, entry, state.tensors[key])
    for key, value in state.values["optimisers"].items():
        _restore_entry(parameters, key.partition("/")[2], value)
    if state.values["scaler"]:
        trainer.scaler.load_state_dict(state.values["scaler"])
    restore_streams(trainer, state)


def check_fit(method: Method, state: State) -> None:
    """StateError unless the method's networks have the state's names, shapes and frozen weights.

    So it is for a state that another number of processes has left.
    """
    if (left_by := 1 + len(state.values.get("random_of_others", ()))) != processes():
        raise StateError(f"it was left by a training on --devices {left_by}, not {processes()}")
    if frozen_hashes(method) != state.values["frozen"]:
        raise StateError("its frozen networks have other weights")
    stored = {key for key in (*state.tensors, *state.values["shared"]) if key.startswith("method/")}
    here = {f"method/{key}": tensor for key, tensor in learnt(method).items()}
    if differing := sorted(stored ^ here.keys()):
        raise StateError(f"its networks are others: {differing[0].removeprefix('method/')}")
    for key, tensor in here.items():
        if key in state.tensors and form(state.tensors[key]) != form(tensor):
            raise StateError(f"{key.removeprefix('method/')} has another shape or type")


def form(tensor: Tensor) -> tuple[Size, dtype]:
    """What a tensor must have of another to take its values as they are."""
    return tensor.shape, tensor.dtype


def learnt(method: Method) -> dict[str, Tensor]:
    """Parameters and buffers by name, those of networks that never learn left out."""
    frozen = tuple(f"{name}." for name in _frozen(method))
    state = method.state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith(frozen)}
    for key, value in kept.items():
        if not isinstance(value, Tensor):
            raise BenchError(
                f"{key} of method {type(method).__name__} is {type(value).__name__}; expected a "
                "parameter or a buffer, of which a training state is made. Without one: --set "
                "checkpoint_every=off."
            )
    return kept


def frozen_hashes(method: Method) -> dict[str, str]:
    """The sha256 (16 hex digits) of the weights of each network that never learns, by name."""
    hashes = {}
    for name, module in _frozen(method).items():
        digest = hashlib.sha256()
        for key, tensor in module.state_dict().items():
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
        hashes[name] = digest.hexdigest()[:16]
    return hashes


def _frozen(method: Method) -> dict[str, Frozen]:
    return {name: module for name, module in method.named_modules() if isinstance(module, Frozen)}


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _parameters(trainer: Trainer) -> Iterator[tuple[str, tuple[torch.optim.Optimizer, Tensor]]]:
    """Each learning parameter as OPTIMISER/NUMBER, in the order of its optimiser's groups."""
    for number, optimiser in enumerate(trainer.schedules):
        held = (p for group in optimiser.param_groups for p in group["params"])
        for index, parameter in enumerate(held):
            yield f"{number}/{index}", (optimiser, parameter)


def _optimiser_entries(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    for number, (optimiser, parameter) in _parameters(trainer):
        for name, value in optimiser.state.get(parameter, {}).items():
            yield f"optimiser/{number}/{name}", value


def _restore_entry(
    parameters: Mapping[str, tuple[torch.optim.Optimizer, Tensor]], entry: str, value: Any
) -> None:
    """Put one entry where it belongs, a tensor of a parameter's shape in its memory format."""
    parameter, _, name = entry.rpartition("/")
    if parameter not in parameters:
        raise StateError("its optimisers hold other parameters")
    optimiser, owner = parameters[parameter]
    if isinstance(value, Tensor):
        like = owner.detach() if value.shape == owner.shape else value
        made = torch.empty_like(like, dtype=value.dtype, device=owner.device)
        value = made.copy_(value)
    optimiser.state[owner][name] = value


def random_streams(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Every source of randomness: the method's generators and those of torch, numpy and Python."""
    streams = {f"random/{name}": g.get_state() for name, g in _generators(trainer.method).items()}
    streams["random/torch"] = torch.get_rng_state()
    if trainer.device.type == "cuda":
        streams["random/cuda"] = torch.cuda.get_rng_state(trainer.device)
    name, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
    streams["random/numpy"] = torch.from_numpy(np.asarray(key).astype(np.int64))
    version, words, following = random.getstate()
    return streams, {
        "numpy": [name, position, has_gauss, gauss],
        "python": [version, list(words), following],
    }


def restore_streams(trainer: Trainer, state: State) -> None:
    """Set every source of randomness of this process back.

    A GPU's, which the state of a training on a CPU does not have, goes on from the run's seed.
    """
    own = _process(rank())
    values = state.values["random"] if not own else state.values["random_of_others"][rank() - 1]
    for name, generator in _generators(trainer.method).items():
        generator.set_state(state.tensors[f"{own}random/{name}"])
    torch.set_rng_state(state.tensors[f"{own}random/torch"])
    of_gpu = state.tensors.get(f"{own}random/cuda")
    if trainer.device.type == "cuda" and of_gpu is not None:
        torch.cuda.set_rng_state(of_gpu, trainer.device)
    name, *rest = values["numpy"]
    key = state.tensors[f"{own}random/numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, key, *rest))
    version, words, following = values["python"]
    random.setstate((version, tuple(words), following))


def _process(number: int) -> str:
    """What names of the streams of a process begin with."""
    return f"process {number}/" if number else ""


def shared(state: State | None) -> State | None:
    """The state that rank 0 has read, in every process."""
    if processes() == 1:
        return state
    described: tuple[dict[str, Any], dict[str, Any]] | None = None
    if state:
        described = state.values, {k: (t.shape, t.dtype) for k, t in state.tensors.items()}
    described = share(described)
    if described is None:
        return None
    values, forms = described
    tensors = {
        key: copy_(state.tensors[key] if state else torch.empty(shape, dtype=dtype))
        for key, (shape, dtype) in forms.items()
    }
    return State(tensors, values)


def _generators(method: Method) -> dict[str, torch.Generator]:
    """The method's own, and any other that a part of it holds, by module and attribute."""
    return {
        f"method/{module}.{name}": value
        for module, part in method.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, torch.Generator)
    }


def save(folder: Path, state: State) -> int:
    """Write a state as a folder, whole or not at all, in the place of an earlier one -> bytes.

    OSError or SafetensorError where that fails.
    """

    def replace(building: Path, path: Path) -> None:
        if path.exists():
            shutil.rmtree(path)
        building.rename(path)

    with folder_written_whole(folder, replace) as building:
        stored = {key: t.detach().cpu().contiguous() for key, t in state.tensors.items()}
        with written_whole(building / TENSORS) as partial:
            save_file(stored, partial)
        values = state.values | {"sha256": file_hash(building / TENSORS)}
        text = json.dumps({"checksum": content_hash(values), "values": values})
        with written_whole(building / VALUES) as partial:
            partial.write_text(text, encoding="utf-8")
        return sum(file.stat().st_size for file in building.iterdir())


def load(folder: Path) -> State:
    """The state in a folder; its tensors are read when they are asked for.

    StateError unless both files are what was written.
    """
    try:
        content = json.loads((folder / VALUES).read_text(encoding="utf-8"))
        values = content["values"]
        if content["checksum"] != content_hash(values):
            raise StateError(f"{VALUES} is not as it was written")
        if values["sha256"] != file_hash(folder / TENSORS):
            raise StateError(f"{TENSORS} is not as it was written")
        return State(_Stored(folder / TENSORS), values)
    except (OSError, ValueError, KeyError, TypeError, BenchError, SafetensorError) as error:
        raise StateError(f"{folder.name} cannot be read") from error


class _Stored(Mapping[str, Tensor]):
    """Tensors of a file, each read anew: no more than one need be in memory."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self._keys = dict.fromkeys(self._file.keys())

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._keys:
            raise KeyError(key)
        return self._file.get_tensor(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
