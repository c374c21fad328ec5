"""Gradients of a step's groups of terms, added up while backward makes them."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakMethod

from torch import Tensor, _foreach_add_

#: Bytes of a later group's gradients that are added to the earlier ones in one operation.
BUCKET = 8 * 2**20


class GradientSum:
    """Adds the gradients of several backward passes, few operations and little memory at a time.

    Autograd alone takes an operation a parameter: a thousand launches a step of MiT-B5. All of a
    group's gradients at its end would be as many bytes as the network once more.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        """`parameters` are leaves; one that learns nothing is left alone."""
        self._parameters = [p for p in parameters if p.requires_grad]
        self._earlier: dict[Tensor, Tensor] = {}
        self._new: list[tuple[Tensor, Tensor]] = []  # an earlier gradient and what is added to it
        self._bytes = 0  # of what is added
        collect = WeakMethod(self._collect)  # a parameter is not to keep this, which keeps it

        def collected(parameter: Tensor) -> None:
            if method := collect():
                method(parameter)

        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(collected)

    def backward(self, loss: Tensor) -> None:
        """loss.backward(): `.grad` then holds the sum of its gradients and of those before."""
        self._earlier = {p: p.grad for p in self._parameters if p.grad is not None}
        for parameter in self._earlier:
            parameter.grad = None
        try:
            loss.backward()
            self._add()
        finally:
            for parameter, gradient in self._earlier.items():
                parameter.grad = gradient
            self._earlier, self._new, self._bytes = {}, [], 0

    def _collect(self, parameter: Tensor) -> None:
        """Called by autograd when a parameter's gradient of this pass is whole."""
        if parameter not in self._earlier or parameter.grad is None:
            return
        self._new.append((self._earlier[parameter], parameter.grad))
        self._bytes += parameter.grad.nbytes
        parameter.grad = None
        if self._bytes >= BUCKET:
            self._add()

    def _add(self) -> None:
        if self._new:
            earlier, new = map(list, zip(*self._new, strict=True))
            _foreach_add_(earlier, new)
        self._new, self._bytes = [], 0
