"""Where a step's time goes, told from outside: no method knows that it is watched."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from harness.measure.clock import GpuMarks, HostMarks
from methods.contract import Batch, Method
from methods.parts.ema import EMATeacher, Frozen

#: What no part claims: zeroing gradients, adding up terms, a method's work outside of its groups.
OTHER = "other"
#: Parts in the order of a step; a table shows those that took time.
ORDER = (
    "data", "EMA", "source", "ImageNet features", "target", "frozen teacher", "pseudo-labels",
    "mixing", "mixed", "masked", "companions", "critics", "losses", "backward", "optimiser",
    "after step", OTHER,
)  # fmt: skip
#: Functions that methods may have -> the part that their time belongs to.
FUNCTIONS = {
    "update_teacher": "EMA",
    "teacher_logits": "pseudo-labels",
    "label_target": "pseudo-labels",
    "mix": "mixing",
    "masked": "mixing",
    "in_target_style": "mixing",
}
#: Text in the name of a group's first term -> the part; the first that fits.
GROUPS = {
    "discriminator": "critics",
    "large": "companions",
    "mixed": "mixed",
    "masked": "masked",
    "source": "source",
    "target": "target",
    "entropy": "target",
    "adversarial": "target",
    "_kl": "target",
}


def group_part(terms: Iterable[str]) -> str:
    """The part that a group of terms is, by the name of its first minimised one."""
    first = next((name for name in terms if not name.startswith("log/")), "")
    return next((part for text, part in GROUPS.items() if text in first), "losses")


class _Span:
    """A part while it is open; its name may become known later."""

    def __init__(self, part: str) -> None:
        self.part = part


class Phases:
    """Marks the device's time wherever a part begins or ends; time counts for the innermost part.

    with phases.step():
        with phases("backward"): ...
    phases.read()  # seconds of each part, a dictionary a step

    A step's parts sum to its time. On a GPU marks are events in its queue: nothing waits for them
    before `read`.
    """

    def __init__(
        self,
        device: torch.device,
        label: Callable[[str], AbstractContextManager] = lambda part: nullcontext(),
    ) -> None:
        """`label` is entered around each part too: a profiler's mark."""
        on_gpu = device.type == "cuda"
        self._marks: Any = GpuMarks(device) if on_gpu else HostMarks(time.perf_counter)
        self.label = label
        self._open: list[_Span] = []
        #: Of each step: (mark, part from then on), and None at its end.
        self._steps: list[list[tuple[Any, _Span | None]]] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        self._steps.append([])
        self._open = [_Span(OTHER)]
        self._now(self._open[0])
        yield
        self._open = []
        self._now(None)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        if not self._open:  # outside of a step
            yield
            return
        span = _Span(part)
        with self.label(part):
            self._open.append(span)
            self._now(span)
            try:
                yield
            finally:
                self._open.pop()
                self._now(self._open[-1])

    def rename(self, part: str, new: str) -> None:
        """Call the innermost open part of that name something else, from its beginning."""
        span = next((span for span in reversed(self._open) if span.part == part), None)
        if span:
            span.part = new

    def read(self) -> list[dict[str, float]]:
        """Seconds of each part of each step since the last call; waits for a GPU."""
        steps = []
        for marks in self._steps:
            parts: dict[str, float] = {}
            for (start, span), (end, _) in pairwise(marks):
                assert span is not None
                parts[span.part] = parts.get(span.part, 0.0) + self._marks.seconds(start, end)
            steps.append(parts)
        self._steps = []
        return steps

    def _now(self, span: _Span | None) -> None:
        self._steps[-1].append((self._marks.mark(), span))


def watch_method(method: Method, phases: Phases) -> None:
    """Let the phases know when this method's functions and networks work.

    A group of terms is named when it is yielded; one whose terms say nothing stays "losses".
    """
    for name, part in FUNCTIONS.items():
        _wrap(method, name, part, phases)
    for name, module in method.named_modules():
        if isinstance(module, Frozen):
            part = "ImageNet features" if "imagenet" in name else "frozen teacher"
            _wrap(module, "forward", part, phases)
            _wrap(module, "features", part, phases)
        elif isinstance(module, EMATeacher):
            _wrap(module, "forward", "pseudo-labels", phases)
            _wrap(module, "update", "EMA", phases)
    losses = method.losses

    def named_losses(batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        for terms in losses(batch, step):
            phases.rename("losses", group_part(terms))
            yield terms
            del terms  # the graph is backpropagated: free it before the next forward
        phases.rename("losses", OTHER)  # nothing was computed any more

    method.losses = named_losses  # type: ignore[method-assign]


def _wrap(owner: Any, name: str, part: str, phases: Phases) -> None:
    """Count the time of an object's function for a part, where it has that function."""
    function = getattr(owner, name, None)
    if not callable(function):
        return

    @wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        with phases(part):
            return function(*args, **kwargs)

    setattr(owner, name, watched)
