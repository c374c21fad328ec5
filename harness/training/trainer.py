"""One step of training: optimisers, schedule, autocast, accumulation around a method's losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from harness.config.schema import Profile
from harness.errors import BenchError
from harness.training.execution import laid_out
from harness.training.gradients import GradientSum
from harness.training.precision import autocast
from methods.contract import Batch, Method
from methods.hooks import unregistered
from methods.networks.encoder_rates import with_encoder_rates
from methods.parts.joined import average_gradients

#: Of the critics' Adam, whatever the student's optimiser is. Source: AdaptSegNet's code.
CRITIC_BETAS = (0.9, 0.99)
CRITIC_POWER = 0.9

#: Entered around each named part of a step by what times them; by default nothing does.
Watch = Callable[[str], AbstractContextManager]


#: What `next` gives of groups that are at their end: a method may yield anything, None too.
_END: Any = object()


def unwatched(part: str) -> AbstractContextManager:
    return nullcontext()


def rate_factor(step: int, profile: Profile) -> float:
    """Share of the base learning rate at a step: polynomial decay, times linear warm-up.

    The warm-up multiplies the already decayed rate. Source: DAFormer's code (poly10warm).
    """
    decay = (1 - step / profile.iterations) ** profile.power
    if step >= profile.warmup:
        return decay
    return decay * (1 - (1 - step / profile.warmup) * (1 - profile.warmup_ratio))


def make_optimiser(method: Method, profile: Profile) -> torch.optim.Optimizer:
    """AdamW or SGD on the method's own parameter groups."""
    groups = with_encoder_rates(
        method.param_groups(profile.lr, profile.weight_decay, profile.head_lr_factor),
        method,
        profile.encoder_lr_factor,
        profile.layer_decay,
    )
    if profile.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=profile.lr, momentum=0.9)
    # Fused: 3 ms instead of 14 for the small student on a CPU, whose tensors are many and small.
    return torch.optim.AdamW(groups, lr=profile.lr, betas=(0.9, 0.999), fused=True)


def make_critic_optimiser(method: Method) -> torch.optim.Optimizer | None:
    """Adam on the method's critics; None where it has none. A group may set its own betas."""
    groups = method.critic_groups()
    return torch.optim.Adam(groups, betas=CRITIC_BETAS, fused=True) if groups else None


def critic_rate_factor(step: int, profile: Profile) -> float:
    """Share of a critic's base rate at a step: polynomial decay, no warm-up."""
    return (1 - step / profile.iterations) ** CRITIC_POWER


def has_gradients(optimiser: torch.optim.Optimizer) -> bool:
    return any(p.grad is not None for group in optimiser.param_groups for p in group["params"])


class Trainer:
    """Optimiser, schedule, autocast, gradient scaling and accumulation around a method's losses."""

    def __init__(
        self,
        method: Method,
        profile: Profile,
        device: torch.device,
        watch: Watch = unwatched,
    ) -> None:
        """`watch` is entered around the parts "losses", "backward", "optimiser", "after step"."""
        self.method, self.profile, self.device, self.watch = method, profile, device, watch
        if not all(
            isinstance(group, dict) and "params" in group for group in method.critic_groups()
        ):
            raise self._broken(
                "critic_groups gave something else", "dictionaries with params and lr"
            )
        self.optimiser = make_optimiser(method, profile)
        self.schedules: dict[torch.optim.Optimizer, Callable[[int, Profile], float]]
        self.schedules = {self.optimiser: rate_factor}
        if critics := make_critic_optimiser(method):
            self.schedules[critics] = critic_rate_factor
        for optimiser in self.schedules:
            for group in optimiser.param_groups:
                group["initial_lr"] = group["lr"]
        self._check_learning()
        self.gradients = GradientSum(self.parameters())
        self.scaler = torch.amp.GradScaler(device.type, enabled=profile.precision == "fp16")

    def step(self, batches: Iterable[Batch], step: int) -> dict[str, Tensor]:
        """One step of the optimisers on `accumulation` batches -> mean of every term, detached.

        Terms are those of this process's rows; gradients are the mean over all processes.
        """
        if self.profile.compile == "cudagraphs":  # what the last step's graphs hold is free
            torch.compiler.cudagraph_mark_step_begin()
        for optimiser, factor in self.schedules.items():
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * factor(step, self.profile)
            optimiser.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        share = 1 / self.profile.accumulation
        learns = False
        for batch in batches:
            for group_terms in self.groups(laid_out(batch, self.profile), step):
                minimised = [v for name, v in group_terms.items() if not name.startswith("log/")]
                if minimised:
                    learns = True
                    loss = self.scaler.scale(torch.stack(minimised).sum() * share)
                    with self.watch("backward"):
                        self.gradients.backward(loss)
                for name, value in group_terms.items():
                    part = value.detach() * share
                    terms[name] = terms[name] + part if name in terms else part
        if step == 0:
            if not learns:
                raise self._broken("the first step minimises nothing", "losses to yield terms")
            self._check_learning()  # again: a step may have built more
        with self.watch("optimiser"):
            average_gradients(self.parameters())
            for optimiser in self.schedules:
                if has_gradients(optimiser):  # fp16's scaler refuses critics that rested
                    self.scaler.step(optimiser)
            self.scaler.update()
        with self.watch("after step"):
            self.method.after_step(step)
        return terms

    def parameters(self) -> list[Tensor]:
        """All that learns: the student's, its companions' and the critics'."""
        groups = (group for optimiser in self.schedules for group in optimiser.param_groups)
        return [p for group in groups for p in group["params"]]

    def groups(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        """The method's groups, each computed under autocast; backward runs outside of it."""
        groups = self.method.losses(batch, step)
        if not isinstance(groups, Iterator):
            raise self._broken(
                f"losses gave {type(groups).__name__}", "dictionaries that it yields"
            )
        while True:
            with self.watch("losses"), autocast(self.device, self.profile.precision):
                terms = next(groups, _END)
            if terms is _END:
                return
            self._check(terms)
            yield terms
            del terms  # the graph is backpropagated: free it before the next forward

    def _check(self, terms: dict[str, Tensor]) -> None:
        """BenchError unless they are numbers, and one that is minimised depends on what learns."""
        if not isinstance(terms, dict):
            raise self._broken(f"losses yielded {type(terms).__name__}", "a dictionary of terms")
        for name, value in terms.items():
            if not isinstance(name, str):
                raise self._broken(f"term {name!r} is named by {type(name).__name__}", "a text")
            if not isinstance(value, Tensor):
                raise self._broken(f"term {name!r} is {type(value).__name__}", "a tensor")
            if value.numel() != 1:
                raise self._broken(f"term {name!r} has shape {tuple(value.shape)}", "one number")
        minimised = {n: v for n, v in terms.items() if not n.startswith("log/")}
        if minimised and not any(value.requires_grad for value in minimised.values()):
            raise self._broken(
                f"no gradient flows from {', '.join(minimised)}",
                "a term that depends on what learns, or the name log/... for what is only shown",
            )

    def _check_learning(self) -> None:
        """BenchError where the method holds what would learn and no optimiser moves."""
        moved = {id(parameter) for parameter in self.parameters()}
        left = [
            n for n, p in self.method.named_parameters() if p.requires_grad and id(p) not in moved
        ]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise self._broken(
                f"no optimiser has {left[0]}{more}",
                "all that learns to be built in setup and to stand in param_groups or "
                "critic_groups, and requires_grad_(False) for what stands still",
            )
        if hidden := unregistered(self.method):
            raise self._broken(
                f"{hidden[0]} holds modules that nobody trains, moves or saves",
                "nn.ModuleList or nn.ModuleDict in the place of a list, tuple or dict",
            )

    def _broken(self, found: str, expected: str) -> BenchError:
        return BenchError(
            f"method {type(self.method).__name__}: {found}; expected {expected} "
            "(`bench test-method` looks for this and more)."
        )
