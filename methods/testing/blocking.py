"""Where a step makes the host wait for a GPU, told without a GPU: torch's fake tensors.

A GPU works through a queue that the host fills ahead of it. What needs a value back on the host
(`.item()`, a shape that depends on data, a copy to the CPU), and a copy from memory that is not
pinned, waits until the queue is empty.
"""

from __future__ import annotations

import linecache
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from methods.contract import Batch, Method
from methods.networks import zoo
from methods.parts.device import constant
from methods.testing.tools import ITERATIONS, SIZE, Subject, require, some

#: Of a step; ClassMix needs one, to learn which classes there are.
MOST = 2

#: Of autocast.
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}

GPU = torch.device("cuda", 0)

Module = TypeVar("Module", bound=nn.Module)

_aten = torch.ops.aten
_INDEXING = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)


class BlockingPoint(NamedTuple):
    """One wait of the host: the operation, and the line outside of torch that asked for it."""

    operation: str
    module: str
    line: int
    source: str

    def __str__(self) -> str:
        return f"{self.operation} at {self.module}:{self.line} `{self.source}`"


def it_seldom_waits_for_a_gpu(subject: Subject) -> None:
    """At most `MOST` times a step in fp32 and in bf16, and every tensor is where the batch is."""
    steps = (0, ITERATIONS - 1)
    for precision, dtype in PRECISIONS.items():
        try:
            counted = blocking_points(subject, steps, dtype)
        except RuntimeError as error:  # torch's own words, which name the operation
            require("device" not in str(error), f"on a GPU it mixes devices: {error}")
            raise
        for step, points in zip(steps, counted, strict=True):
            require(
                len(points) <= MOST,
                f"step {step} in {precision} makes the host wait for a GPU {len(points)} times, at "
                f"most {MOST} are expected: {some([str(point) for point in points])}",
            )


def blocking_points(
    subject: Subject,
    steps: Sequence[int],
    dtype: torch.dtype | None = None,
    size: tuple[int, int] = SIZE,
) -> list[list[BlockingPoint]]:
    """Points of each of these steps on a GPU, under autocast to `dtype`; None: fp32.

    Backward and the optimiser are left out. The last of the steps is made once before, uncounted:
    constants lie on the device by then. RuntimeError where a CPU's tensor meets a GPU's.
    """
    counted = []
    with warnings.catch_warnings(), FakeGPU() as gpu, mixed_precision(dtype):
        # That there is no GPU, and that fake tensors have no data to copy.
        warnings.filterwarnings(
            "ignore", message=".*CUDA is not available|Accessing the data pointer"
        )
        method = gpu.method(subject)
        for step in (steps[-1], *steps):
            gpu.points.clear()
            for _ in method.losses(gpu.batch(subject.batch(step, size)), step):
                pass
            method.after_step(step)
            counted.append(list(gpu.points))
    return counted[1:]


def _gradients(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """What torch.autograd.grad answers here: such as a gradient penalty needs, without values."""
    sequence = [inputs] if isinstance(inputs, Tensor) else inputs
    return tuple(x * 1 if kwargs.get("create_graph") else torch.empty_like(x) for x in sequence)


class FakeGPU(TorchDispatchMode):
    """Inside, tensors on cuda have no values, and `points` collects what waits for them.

    Tensors on the CPU are real. What depends on data is answered as if all values were one; what
    is copied to the CPU is ones too, but for whole numbers, zeros, which may be indices.
    """

    def __init__(self) -> None:
        super().__init__()
        self.points: list[BlockingPoint] = []
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._pinned: dict[int, Tensor] = {}  # by storage; kept, so that no other takes its place
        self._patches = (
            patch.object(torch.cuda, "synchronize", self._synchronised),
            # A fake tensor's own asks for one element after the other.
            patch.object(FakeTensor, "tolist", lambda tensor: tensor.cpu().tolist()),
            # Backward is left out, and without a GPU torch would look for one.
            patch.object(torch.autograd, "grad", _gradients),
            patch.object(torch.autograd, "backward", lambda *args, **kwargs: None),
        )

    def __enter__(self) -> FakeGPU:
        constant.cache_clear()  # neither may see the other's: real ones, and those of this device
        for replaced in self._patches:
            replaced.start()
        self._fake.__enter__()  # so that torch looks for no driver
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._fake.__exit__(*raised)
        for replaced in self._patches:
            replaced.stop()
        constant.cache_clear()

    def method(self, subject: Subject) -> Method:
        """The subject's method, its networks here before it takes hold of their parameters."""
        networks = [zoo.build(subject.network), *subject.frozen_teachers()]
        student, *teachers = (self.take(network) for network in networks)
        companions = [self.take(network) for network in subject.companions()]
        return self.take(subject.make(student=student, teachers=teachers, companions=companions))

    def batch(self, batch: Batch) -> Batch:
        label = batch.target_label
        return Batch(
            self.empty_like(batch.source_image),
            self.empty_like(batch.source_label),
            self.empty_like(batch.target_image),
            None if label is None else self.empty_like(label),
        )

    def take(self, module: Module) -> Module:
        """Bring here what of it is on the CPU; what is here stays, for others may hold it."""
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None and not isinstance(parameter, FakeTensor):
                    here = nn.Parameter(self.empty_like(parameter), parameter.requires_grad)
                    part._parameters[name] = here
            for name, buffer in part._buffers.items():
                if buffer is not None and not isinstance(buffer, FakeTensor):
                    part._buffers[name] = self.empty_like(buffer)
        return module

    def empty_like(self, tensor: Tensor) -> Tensor:
        with self._fake:
            return torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU
            )

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if op is _aten.is_pinned.default and not isinstance(args[0], FakeTensor):
            return _storage(args[0]) in self._pinned
        if op is _aten._pin_memory.default:
            return self._pin(args[0])
        here = any(isinstance(x, FakeTensor) for x in tree_leaves((args, kwargs)))
        to = kwargs.get("device")
        if not here and (to is None or torch.device(to).type != GPU.type):
            with unset_fake_temporarily():
                return op(*args, **kwargs)
        if op in _INDEXING:
            args = (args[0], [self._index(i) for i in args[1]], *args[2:])
            waits = _selects(op, args)
        elif op is _aten._to_copy.default and to is not None:
            return self._copy(op, args, kwargs)
        elif op is _aten.copy_.default:
            return self._copy_into(op, args, kwargs)
        else:
            waits = _depends_on_data(op) and kwargs.get("output_size") is None
        if waits:
            self._wait(op)
            return self._of_ones(op, args, kwargs)
        return op(*args, **kwargs)

    def _copy(self, op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        (tensor,) = args
        there = torch.device(kwargs["device"]).type == GPU.type
        if isinstance(tensor, FakeTensor) and not there:
            self._wait(op)
            with unset_fake_temporarily():
                return _known(torch.empty(tensor.shape, dtype=kwargs.get("dtype", tensor.dtype)))
        if not isinstance(tensor, FakeTensor):
            self._sent(op, tensor, kwargs.get("non_blocking"))
        return op(*args, **kwargs)

    def _copy_into(self, op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        into, tensor = args[:2]
        if not isinstance(into, FakeTensor):
            self._wait(op)
            with unset_fake_temporarily():
                return _known(into)
        if not isinstance(tensor, FakeTensor):
            self._sent(op, tensor, args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        return op(*args, **kwargs)

    def _sent(self, op: Any, tensor: Tensor, non_blocking: bool | None) -> None:
        if not (non_blocking and _storage(tensor) in self._pinned):
            self._wait(op)

    def _index(self, index: Tensor | None) -> Tensor | None:
        """An index on the CPU is sent to the GPU by torch itself."""
        if index is None or isinstance(index, FakeTensor):
            return index
        self._wait(_aten._to_copy.default)
        return self.empty_like(index)

    def _of_ones(self, op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """What the operation answers on the CPU where every value is one, brought here."""
        ones = lambda t: torch.ones(t.shape, dtype=t.dtype)  # noqa: E731
        with unset_fake_temporarily():
            args, kwargs = tree_map_only(FakeTensor, ones, (args, kwargs))
            answer = op(*args, **kwargs)
        return tree_map_only(Tensor, self.empty_like, answer)

    def _pin(self, tensor: Tensor) -> Tensor:
        with unset_fake_temporarily():
            pinned = tensor.clone()
        self._pinned[_storage(pinned)] = pinned
        return pinned

    def _synchronised(self, device: object = None) -> None:
        self._wait("cuda.synchronize")

    def _wait(self, op: Any) -> None:
        self.points.append(BlockingPoint(str(op), *_caller()))


def _depends_on_data(op: Any) -> bool:
    tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return not tags.isdisjoint(op.tags)


def _selects(op: Any, args: tuple) -> bool:
    """Whether pixels are chosen by a mask, whose count nobody knows; one value fills it unseen."""
    masked = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return masked and (op is _aten.index.Tensor or args[2].ndim > 0)


def _known(tensor: Tensor) -> Tensor:
    """Fill what comes from a GPU to the CPU."""
    whole = not tensor.dtype.is_floating_point and tensor.dtype is not torch.bool
    return tensor.fill_(0 if whole else 1)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _caller() -> tuple[str, int, str]:
    """Module, line and its text of the innermost frame that is neither torch's nor ours."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if module != __name__ and module.partition(".")[0] not in ("torch", "contextlib"):
            break
        frame = frame.f_back
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return frame.f_globals.get("__name__", "?"), frame.f_lineno, line


@contextmanager
def mixed_precision(dtype: torch.dtype | None) -> Iterator[None]:
    """As torch.autocast has it, which refuses where there is no GPU."""
    if dtype is None:
        yield
        return
    enabled = torch.is_autocast_enabled(GPU.type)
    before = enabled, torch.get_autocast_dtype(GPU.type), torch.is_autocast_cache_enabled()
    _set_autocast(True, dtype, False)
    try:
        yield
    finally:
        _set_autocast(*before)


def _set_autocast(enabled: bool, dtype: torch.dtype, cache: bool) -> None:
    torch.set_autocast_enabled(GPU.type, enabled)
    torch.set_autocast_dtype(GPU.type, dtype)
    torch.set_autocast_cache_enabled(cache)
