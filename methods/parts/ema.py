"""The EMA teacher: the running average of the student that makes the pseudo-labels."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.contract import Segmentation, Segmentor


class EMATeacher(nn.Module):
    """Average of the student's parameters; buffers are its own (DAFormer's code), once it is asked.

    BatchNorm runs on batch statistics while the method trains, dropout and drop-path never act.
    """

    def __init__(self, student: Segmentor, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.last_step = -1
        self.network = deepcopy(student).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> EMATeacher:
        """Switch BatchNorm between batch and running statistics; all else stays in eval mode."""
        super().train(False)
        for module in self.network.modules():
            still = getattr(module, "stands_still", False)  # frozen in the student
            if isinstance(module, _BatchNorm) and not still:
                module.train(mode)
        return self

    @torch.no_grad()
    def update(self, student: Segmentor, step: int) -> None:
        """At the start of step t: alpha_t = min(1 - 1/(t+1), alpha); t=0 copies the student.

        Once a step: further batches that the step accumulates find the teacher up to date.
        """
        if step == self.last_step:
            return
        self.last_step = step
        alpha = min(1 - 1 / (step + 1), self.alpha)
        averages: list[Tensor] = list(self.network.parameters())
        parameters: list[Tensor] = list(student.parameters())
        torch._foreach_mul_(averages, alpha)
        torch._foreach_add_(averages, parameters, alpha=1 - alpha)

    @torch.no_grad()
    def take_statistics(self, student: Segmentor) -> None:
        """Have the student's buffers: norms of a teacher that has seen no image say nothing yet."""
        for own, other in zip(self.network.buffers(), student.buffers(), strict=True):
            own.copy_(other)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Segmentation:
        return self.network(image)


def without_head(network: Segmentor) -> Segmentor:
    """A copy for `features` alone, which holds no weights of a head.

    Whole where the network has no `features` of its own, and so needs its head for them.
    """
    if type(network).features is Segmentor.features:
        return deepcopy(network)
    heads = [part for name, part in network.named_children() if "head" in name]
    return deepcopy(network, {id(head): nn.Identity() for head in heads})


class Frozen(nn.Module):
    """A network that never learns: always in eval mode, no gradient."""

    def __init__(self, network: Segmentor) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode whatever the method does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Segmentation:
        return self.network(image)

    @torch.no_grad()
    def features(self, image: Tensor) -> list[Tensor]:
        """The encoder's maps alone, without the cost of the head."""
        return self.network.features(image)
