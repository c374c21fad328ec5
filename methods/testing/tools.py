"""What the checks share: a method made with microscopic networks and data, and a step of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from methods.contract import IGNORE, Batch, Method, Segmentor
from methods.networks import zoo

NETWORKS = ("test_mit", "test_deeplab")
#: Of the networks and labels here, and which of them are things: as many as Cityscapes has.
CLASSES, THINGS = 19, (6, 7, *range(11, 19))
ITERATIONS = 4
SIZE = (32, 64)

#: Settings beside the defaults that send a step through other branches, for methods with the knobs.
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "source phase": {"mix_start": 0.5, "warm_target": True, "lambda_fd": 0.005},
    "all terms": {
        "loss_stride": 2,
        "lambda_fd": 0.005,
        "stages": ("2", "4", "fused"),
        "images": ("source", "target", "mixed"),
        "projection": "conv",
        "pixel_mask": "things",
        "distance": "cosine",
        "kd_warmup": 0.5,
        "ignore_top": 0,
        "ignore_bottom": 2,
        "levels": 2,
        "gan": "ls",
        "discriminator_width": 4,
        "further_teachers": ("test_deeplab",),
        "large_rests": False,
        "widths": "leading",
    },
    # A random network is sure of nothing: at the usual threshold no pseudo-label counts.
    "confident": {"pseudo_threshold": 0.0, "ignore_bottom": 0, "mask_block": 8},
}


class ContractError(AssertionError):
    """A method does not keep to the contract; the message says in what."""


def require(condition: object, reason: str) -> None:
    """Raise ContractError unless it holds; an assert would vanish under `python -O`."""
    if not condition:
        raise ContractError(reason)


def same(terms: object, others: object) -> bool:
    """Whether two lists of terms are the same to the last bit; NaN is NaN."""
    return repr(terms) == repr(others)


def require_seeded(terms: object, others: object) -> None:
    """ContractError where two runs of one seed differ."""
    require(
        same(terms, others),
        "two runs of one seed differ; expected that every draw is from self.generator (those of "
        f"numpy, of random and of the clock are not of the run's seed): {terms} and {others}",
    )


@dataclass(frozen=True)
class Subject:
    """A method, and the network and settings that a check looks at it with."""

    method: type[Method]
    network: str = NETWORKS[0]
    variant: str = "defaults"
    knobs: Mapping[str, Any] = field(default_factory=dict)  # the user's, before the variant's
    classes: int = CLASSES

    @property
    def config(self) -> Any:
        return self.method.Config(**{**self.knobs, **settings(self.method, self.variant)})

    def frozen_teachers(self) -> list[Segmentor]:
        """The frozen teachers it asks for, with random weights."""
        return [
            zoo.build(spec.network, self.classes)
            for spec in self.method.frozen_teachers(self.config, self.network)
        ]

    def companions(self) -> list[Segmentor]:
        """The companions it asks for, with random weights."""
        return [
            zoo.build(spec.network, self.classes)
            for spec in self.method.companions(self.config, self.network)
        ]

    def make(
        self,
        seed: int = 0,
        *,
        iterations: int = ITERATIONS,
        student: Segmentor | None = None,
        teachers: list[Segmentor] | None = None,
        companions: list[Segmentor] | None = None,
    ) -> Method:
        """Build it as the harness does, every network it asks for with random weights."""
        torch.manual_seed(seed)
        config = self.config
        given = self.frozen_teachers() if teachers is None else teachers
        student = zoo.build(self.network, self.classes) if student is None else student
        companions = self.companions() if companions is None else companions
        method = self.method(
            config,
            student,
            given,
            generator=torch.Generator().manual_seed(seed),
            iterations=iterations,
            things=THINGS,
            **({"companions": companions} if companions else {}),
        )
        return method.train()

    def batch(self, seed: int = 0, size: tuple[int, int] = SIZE) -> Batch:
        """Noise and labels in blocks of 8 pixels, some ignored; two images of each domain."""
        generator = torch.Generator().manual_seed(100 + seed)

        def labels() -> Tensor:
            cells = (2, -(-size[0] // 8), -(-size[1] // 8))
            blocks = torch.randint(0, self.classes + 1, cells, generator=generator)
            blocks = torch.where(blocks == self.classes, IGNORE, blocks)
            whole = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
            return whole[:, : size[0], : size[1]].contiguous()

        source, target = torch.randn(2, 2, 3, *size, generator=generator)
        source_label, target_label = labels(), labels()
        wanted = target_label if self.method.needs_target_labels else None
        return Batch(source, source_label, target, wanted)

    def steps(self, method: Method, count: int, first: int = 0) -> list[dict[str, float]]:
        """Train some steps, each on a batch of its own -> their terms."""
        optimiser = optimiser_for(method)
        return [
            train_step(method, optimiser, self.batch(step), step)
            for step in range(first, first + count)
        ]


def settings(method: type[Method], variant: str) -> dict[str, Any]:
    """The variant's values for the knobs that the method has."""
    return {k: v for k, v in VARIANTS[variant].items() if k in method.Config.model_fields}


def variants_of(method: type[Method]) -> list[str]:
    """The variants that differ for this method."""
    seen: list[dict[str, Any]] = []
    kept = []
    for variant in VARIANTS:
        chosen = settings(method, variant)
        if chosen not in seen:
            seen.append(chosen)
            kept.append(variant)
    return kept


def optimiser_for(method: Method) -> torch.optim.Optimizer:
    """The student's and the critics' in one: what matters here is that all that learns does."""
    groups = [*method.param_groups(1e-2, 0.01, 10.0), *method.critic_groups()]
    return torch.optim.AdamW(groups)


def critics(method: Method) -> list[Tensor]:
    return [p for group in method.critic_groups() for p in group["params"]]


def train_step(
    method: Method, optimiser: torch.optim.Optimizer, batch: Batch, step: int
) -> dict[str, float]:
    """One step as the harness makes it -> its terms."""
    terms: dict[str, float] = {}
    optimiser.zero_grad()
    for group in method.losses(batch, step):
        minimised(group).backward()
        terms |= {term: value.item() for term, value in group.items()}
    optimiser.step()
    method.after_step(step)
    return terms


def minimised(group: dict[str, Tensor]) -> Tensor:
    """What of a group is backpropagated: the sum of its terms but those to be shown only."""
    what = type(group).__name__
    require(isinstance(group, dict), f"losses yielded {what}; expected a dictionary of terms")
    terms = [value for term, value in group.items() if not term.startswith("log/")]
    return torch.stack(terms).sum() if terms else torch.zeros((), requires_grad=True)


def frozen(method: Method) -> Iterator[tuple[str, Tensor]]:
    """What no optimiser touches: the EMA teacher, the frozen teacher, the ImageNet encoder."""
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Names whose tensors are not bit for bit the same; NaN is NaN."""
    return [name for name, value in first.items() if not _equal(value, second[name])]


def _equal(value: Tensor, other: Tensor) -> bool:
    if torch.equal(value, other):
        return True
    may_be_nan = value.is_floating_point() and value.shape == other.shape
    return may_be_nan and torch.allclose(value, other, rtol=0, atol=0, equal_nan=True)


def some(names: list[str]) -> str:
    """A few names in words."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
