"""Collaborative learning for domain adaptation (Cho, Choi, Jo, Min, arXiv 2409.02699, 2024).

Domain shift leaves more parameters of a large teacher without influence than of a small student.
So the teacher's non-salient parameters are updated by the student's, and the teacher so updated is
distilled to the student. The abstract fixes that much; that saliency is a rate of whole layers is
told by others' summaries of the paper; the rest is our reading, each choice a knob.

    L = CE(source) + CE(mixed; large teacher's labels) + lambda_kd * KL(teacher || student; target)
    rate(layer) = share of its parameters with |w * dL/dw| > salient_factor * mean over all layers
    where it is least: w_teacher <- exchange_alpha * w_teacher + (1 - exchange_alpha) * w_student

The teacher learns by the same self-training: its EMA labels and distils, its own gradient on mixed
images tells its saliency. Layers correspond by name: deeper stages keep their further blocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.bases.large_teacher import LargeTeacher
from methods.contract import Batch, Segmentor
from methods.parts.distillation import distill
from methods.parts.joined import average_
from methods.parts.pseudo_labels import PseudoLabel

#: The parameters of one layer, each with the student's of the same name.
Layer = list[tuple[nn.Parameter, nn.Parameter]]


class CLDA(LargeTeacher):
    """Student and large teacher learn from each other: parameters one way, probabilities back."""

    title = "Collaborative learning of teacher and student (our reading)"
    paper = (
        "CLDA: Collaborative Learning for Enhanced Unsupervised Domain Adaptation, "
        "arXiv 2409.02699, 2024"
    )

    class Config(LargeTeacher.Config):
        collaborate_start: float = Field(
            0.5, ge=0, le=1, description="share of the schedule before either takes from the other"
        )
        lambda_kd: float = Field(1.0, ge=0, description="weight of the distillation's KL")
        exchange_share: float = Field(
            0.25, ge=0, le=1, description="of the layers: the least salient ones, at least one"
        )
        exchange_alpha: float = Field(
            0.99, ge=0, le=1, description="what such a layer keeps of itself a step"
        )
        widths: Literal["equal", "leading"] = Field(
            "equal",
            description="what is taken over: equal shapes, or into a wider layer's first channels",
        )
        salient_factor: float = Field(
            1.0, ge=0, description="times the mean influence: what counts as a salient parameter"
        )
        saliency_alpha: float = Field(0.9, ge=0, lt=1, description="momentum of the layers' rates")

    config: Config
    saliency: Tensor

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        self.layers = list(shared_layers(self.student, companions[0], self.config.widths).values())
        self.register_buffer("saliency", torch.zeros(len(self.layers)))

    def collaborates(self, step: int) -> bool:
        return self.mixes(step) and step >= self.config.collaborate_start * self.iterations

    def target_terms(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        yield from super().target_terms(batch, step)
        if self.collaborates(step):
            student = self.segment(batch.target_image).logits
            kl = distill(student, self.teacher_logits(batch), "kl", normalise=False)
            yield {"collaborative_kl": self.config.lambda_kd * kl}

    def pseudo_terms(
        self, batch: Batch, pseudo: PseudoLabel, step: int
    ) -> Iterator[dict[str, Tensor]]:
        before = gradients(self.layers) if self.collaborates(step) else {}
        yield from super().pseudo_terms(batch, pseudo, step)
        # What the teacher's gradient has gained is that of its mixed image: its source's comes
        # after, and `before` holds that of earlier batches which the step accumulates.
        if self.collaborates(step):
            rates = saliency_rates(self.layers, self.config.salient_factor, before)
            self.saliency.lerp_(rates, 1 - self.config.saliency_alpha)

    def after_step(self, step: int) -> None:
        super().after_step(step)
        if self.collaborates(step):
            for index in least(self.saliency, self.config.exchange_share):
                take_over(self.layers[index], 1 - self.config.exchange_alpha)


def shared_layers(student: Segmentor, teacher: Segmentor, widths: str) -> dict[str, Layer]:
    """Layers that both have by name, with those parameters that fit. ValueError for none."""
    student_parameters = dict(student.named_parameters())
    layers: dict[str, Layer] = defaultdict(list)
    for name, parameter in teacher.named_parameters():
        if name in student_parameters and fits(parameter, student_parameters[name], widths):
            layers[name.rpartition(".")[0]].append((parameter, student_parameters[name]))
    if not layers:
        raise ValueError(
            f"no layer of the teacher {teacher.name} can take parameters of the student "
            f"{student.name}; expected one of its family, with layers of its names and sizes: "
            "--teacher NETWORK, or --set widths=leading for wider ones"
        )
    return dict(layers)


def fits(teacher: Tensor, student: Tensor, widths: str) -> bool:
    """Equal shapes; or equal but for channels, of which the teacher has no fewer."""
    wide, narrow = teacher.shape, student.shape
    if widths == "equal" or len(wide) != len(narrow):
        return wide == narrow
    return wide[2:] == narrow[2:] and all(t >= m for t, m in zip(wide, narrow, strict=True))


def gradients(layers: Sequence[Layer]) -> dict[nn.Parameter, Tensor]:
    """Copies of the gradients that the teacher's parameters hold; none for those without."""
    held = (w for layer in layers for w, _ in layer)
    return {w: w.grad.clone() for w in held if w.grad is not None}


@torch.no_grad()
def saliency_rates(
    layers: Sequence[Layer], factor: float, before: Mapping[nn.Parameter, Tensor] | None = None
) -> Tensor:
    """Share (L,) of each layer's parameters whose influence is above factor times the mean of all.

    Influence is the first-order change of the joined batch's loss without the parameter,
    |w * dL/dw|; dL/dw is the gradient that a parameter holds, less the one it held `before`.
    """
    before = before or {}

    def gained(w: nn.Parameter) -> Tensor:
        gradient = torch.zeros_like(w) if w.grad is None else w.grad
        return gradient - before[w] if w in before else gradient.clone()

    gains = [[gained(w) for w, _ in layer] for layer in layers]
    average_([gain for layer in gains for gain in layer])
    influences = [
        torch.cat([(w * gain).abs().flatten() for (w, _), gain in zip(layer, own, strict=True)])
        for layer, own in zip(layers, gains, strict=True)
    ]
    threshold = factor * torch.cat(influences).mean()
    return torch.stack([(layer > threshold).float().mean() for layer in influences])


def least(rates: Tensor, share: float) -> list[int]:
    """Indices of that share of the smallest rates, rounded, at least one; the first of equals."""
    count = max(1, round(share * len(rates)))
    return rates.argsort(stable=True)[:count].tolist()


@torch.no_grad()
def take_over(layer: Layer, weight: float) -> None:
    """Move the teacher's parameters towards the student's, in its first channels where wider."""
    for teacher, student in layer:
        teacher[tuple(slice(size) for size in student.shape)].lerp_(student, weight)
