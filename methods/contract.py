"""All that a plug-in method must know, on one page.

A method owns its networks and says, step by step, what is to be minimised. The harness owns the
loop around it: data, optimiser, schedule, autocast, checkpoints, clock and tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from torch import Tensor, nn

#: Label of pixels that belong to no class: excluded from every loss and every score.
IGNORE = 255

#: `json_schema_extra` of a knob that a method gained after runs of it were recorded. At its default
#: a run does not name it, so that those runs keep their names and share a row with new ones.
ADDED_LATER: JsonDict = {"added_later": True}


@dataclass
class Batch:
    """One step's data, already on the device.

    Images are ImageNet-normalised floats (B, 3, H, W); labels are int64 train ids (B, H, W) with
    255 for ignored pixels. `target_label` is None unless the method sets `needs_target_labels`.
    """

    source_image: Tensor
    source_label: Tensor
    target_image: Tensor
    target_label: Tensor | None = None


class Segmentation(NamedTuple):
    """What a segmentation network makes of one batch of images."""

    logits: Tensor  # (B, C, h, w) class scores at the head's stride
    features: list[Tensor]  # one (B, c_i, h_i, w_i) map an encoder stage, finest first
    fused: Tensor  # (B, c, h, w) the head's last map before its classifier


class Segmentor(nn.Module):
    """An encoder and a head. Every network of the zoo is one; see methods/networks/segmentor.py."""

    name: str
    encoder: nn.Module
    head: nn.Module
    feature_channels: list[int]  # channels of each map in Segmentation.features
    fused_channels: int
    num_classes: int  # channels of Segmentation.logits

    def forward(self, image: Tensor) -> Segmentation:  # image: (B, 3, H, W), any H and W
        raise NotImplementedError

    def features(self, image: Tensor) -> list[Tensor]:
        """The encoder's maps alone; overridden where the head's cost can be saved."""
        return self(image).features


class TeacherSpec(NamedTuple):
    """A frozen teacher that a method asks for before it can start."""

    network: str  # name in the zoo
    checkpoint: str | None = None  # a weight file; None: a run that the harness makes before
    trained: bool = True  # False: as its encoder starts, never trained; its head then is random
    method: str = "source_only"  # of that run; one without frozen teachers of its own


class CompanionSpec(NamedTuple):
    """A network that learns beside the student, such as a larger one that teaches it."""

    network: str  # name in the zoo
    checkpoint: str | None = None  # weights for its encoder; None: random, like the student's


class Method(nn.Module):
    """Base class of every method. Subclasses write `losses`, and what else they need.

    What a method must remember between steps lives in parameters or buffers, so that its
    state_dict resumes it exactly. It draws randomness from `self.generator` only: one more draw in
    a method never moves the order of the data.
    """

    class Config(BaseModel):
        """The method's knobs; `--set NAME=VALUE` overrides any of them."""

        model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

        loss_stride: int = Field(
            1, ge=1, description="compare logits and labels at 1/loss_stride of the resolution"
        )

    #: Shown by `bench list` and `bench info`.
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    #: The oracle sets this; for every other method `Batch.target_label` is None.
    needs_target_labels: ClassVar[bool] = False
    #: False for a method that never looks at the target: its weights then serve every target.
    uses_target: ClassVar[bool] = True
    #: False for a method that never looks at the source: it is then not read, and
    #: `Batch.source_image` is empty (0, 3, H, W), `Batch.source_label` (0, H, W).
    uses_source: ClassVar[bool] = True

    student: Segmentor  # the network that is evaluated and deployed

    def __init__(
        self,
        config: Config,
        student: Segmentor,
        frozen_teachers: Sequence[Segmentor] = (),
        *,
        companions: Sequence[Segmentor] = (),
        generator: torch.Generator | None = None,
        iterations: int = 1,
        things: Sequence[int] = (),
    ) -> None:
        """Take over the student, then call `setup` with the networks asked for, in their order.

        `companions` is given only to a method that asks for them. `generator` is the method's own
        source of randomness (CPU); `iterations` is the length of the schedule; `things` are the
        train ids of countable objects, none where the class set does not tell them apart. How many
        classes there are, the student says: `num_classes`.
        """
        super().__init__()
        self.config = config
        self.student = student
        self.generator = generator or torch.Generator().manual_seed(0)
        self.iterations = iterations
        self.things = tuple(things)
        self.setup(frozen_teachers, companions)
        self._check_kept(frozen_teachers)

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        """Build what the method holds besides the student; called once, at the end of __init__.

        `config`, `student`, `generator`, `iterations` and `things` are attributes by then. Both
        sequences are as the class methods of these names asked; the subclass that asks keeps what
        it needs.
        An override calls `super().setup(frozen_teachers, companions)`.
        """

    def _check_kept(self, frozen_teachers: Sequence[Segmentor]) -> None:
        """ValueError where `setup` keeps a network so that it is not what it was meant to be."""
        if "ema_teacher" in self._modules:
            raise ValueError(
                "setup keeps a module as ema_teacher, the name of the property that is scored; "
                "expected another, and a property ema_teacher that returns its network"
            )
        kept = {id(module) for module in self.modules()}
        for teacher in frozen_teachers:
            if id(teacher) in kept and any(p.requires_grad for p in teacher.parameters()):
                raise ValueError(
                    f"setup keeps the frozen teacher {teacher.name} so that it would learn; "
                    "expected Frozen(teacher), of methods/parts/ema.py"
                )

    @classmethod
    def frozen_teachers(cls, config: Any, student: str) -> list[TeacherSpec]:
        """Networks to be trained on the source first, for a student of that name."""
        return []

    @classmethod
    def companions(cls, config: Any, student: str) -> list[CompanionSpec]:
        """Networks that are to learn beside a student of that name."""
        return []

    @property
    def ema_teacher(self) -> Segmentor | None:
        """The EMA teacher where there is one; evaluated beside the student."""
        return None

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        """Yield groups of named scalar terms, one group a graph.

        The harness sums a group, backpropagates it and frees its graph before it asks for the
        next, so that peak memory is one graph's. A term whose name starts with `log/` is shown,
        not minimised.
        """
        raise NotImplementedError(f"method {type(self).__name__} has no losses of its own")

    def after_step(self, step: int) -> None:
        """Called after the optimiser's step."""

    def param_groups(self, lr: float, weight_decay: float, head_lr_factor: float) -> list[dict]:
        """Optimiser groups by the reference's rule, critics left out: methods/param_groups.py."""
        from methods.param_groups import reference_groups

        critics = [p for group in self.critic_groups() for p in group["params"]]
        return reference_groups(self, lr, weight_decay, head_lr_factor, without=critics)

    def critic_groups(self) -> list[dict]:
        """Groups of what learns against the student, such as a discriminator, each with its `lr`.

        A second optimiser minimises them, Adam with a schedule of its own; see
        harness/training/trainer.py.
        A group of `losses` is either the student's or the critics', never both.
        """
        return []
