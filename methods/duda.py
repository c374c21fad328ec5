"""Distilled unsupervised domain adaptation (Kang and others, WACV 2026, arXiv 2504.09814).

A small network's own EMA labels the target badly. So a large student adapts beside the small one
and its EMA, the large teacher, labels the target for both; later the small student is fine-tuned
to the teacher's probabilities, with most weight on classes that it has not adapted to. The
abstract fixes the three networks, a gradual distillation, the priority of inconsistent classes and
that there may be several teachers; the rest is our reading, each choice a knob.

    before:  L = CE(source) + CE(mixed; large teacher's labels), large students likewise
    after:   the small student's L + lambda_kl * mean over pixels of w_c * KL(teacher || student)
    w_c = i_c / mean(i),  i_c = 1 - IoU of class c between student and teacher on the target

c is the class that the teacher sees at the pixel; counts fade by `inconsistency_alpha` a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.bases.large_teacher import LargeTeacher
from methods.contract import Batch, CompanionSpec, Segmentor
from methods.parts.distillation import divergence
from methods.parts.joined import total
from methods.parts.losses import upsample


class DUDA(LargeTeacher):
    """Large students and their EMA teacher label for a small student, then fine-tune it."""

    title = "Distilled adaptation by a large EMA teacher (our reading)"
    paper = (
        "DUDA: Distilled Unsupervised Domain Adaptation for Lightweight Semantic Segmentation, "
        "WACV 2026, arXiv 2504.09814"
    )

    class Config(LargeTeacher.Config):
        further_teachers: tuple[str, ...] = Field(
            (), description="more large networks; the mean of their EMAs' probabilities labels"
        )
        finetune_start: float = Field(
            0.75, ge=0, le=1, description="share of the schedule before the fine-tuning"
        )
        large_rests: bool = Field(
            True, description="large students and their EMA stand still in the fine-tuning"
        )
        lambda_kl: float = Field(1.0, ge=0, description="weight of the fine-tuning's KL")
        inconsistency_alpha: float = Field(
            0.99,
            ge=0,
            lt=1,
            description="momentum of the counts behind the weights; 0: one batch",
        )

    config: Config
    overlap: Tensor

    @classmethod
    def companions(cls, config: Any, student: str) -> list[CompanionSpec]:
        further = [CompanionSpec(network) for network in config.further_teachers]
        return [*super().companions(config, student), *further]

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        self.register_buffer("overlap", torch.zeros(2, self.student.num_classes))

    def fine_tunes(self, step: int) -> bool:
        return step >= self.config.finetune_start * self.iterations

    def large_learns(self, step: int) -> bool:
        return not (self.config.large_rests and self.fine_tunes(step))

    def target_terms(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        yield from super().target_terms(batch, step)
        if self.fine_tunes(step):
            yield {"inconsistency_kl": self.config.lambda_kl * self.fine_tuning(batch)}

    def fine_tuning(self, batch: Batch) -> Tensor:
        """KL to the large teacher, its classes weighted, mean over the target's pixels."""
        student = self.segment(batch.target_image).logits.float()
        teacher = upsample(self.teacher_logits(batch).float(), student.shape[-2:])
        label = teacher.argmax(1)  # (B, h, w)
        alpha = self.config.inconsistency_alpha
        overlap = class_overlap(student.argmax(1), label, self.student.num_classes)
        overlap = total(overlap)
        self.overlap.mul_(alpha).add_(overlap)
        return (divergence(student, teacher) * class_weights(self.overlap)[label]).mean()


def class_overlap(a: Tensor, b: Tensor, num_classes: int) -> Tensor:
    """Pixels of each class in both and in either of two predictions (B, h, w): (2, num_classes)."""
    in_a, in_b = (F.one_hot(label, num_classes).flatten(0, 2).bool() for label in (a, b))
    return torch.stack([in_a & in_b, in_a | in_b]).sum(1).float()


def class_weights(overlap: Tensor) -> Tensor:
    """Weights (C,) in proportion to 1 - IoU, of mean one over the classes that were seen.

    overlap (2, C) as `class_overlap` gives it. All are one where nothing is inconsistent; so is
    that of a class that neither saw.
    """
    both, either = overlap
    seen = either > 0
    inconsistency = torch.where(seen, 1 - both / either.clamp(min=1e-6), 0.0)
    mean = inconsistency.sum() / seen.sum().clamp(min=1)
    return torch.where(seen & (mean > 0), inconsistency / mean.clamp(min=1e-6), 1.0)
