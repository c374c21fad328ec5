"""Context-aware high-resolution domain adaptation (Hoyer, Dai, Van Gool, ECCV 2022).

DAFormer's self-training with a student that sees every image twice: the whole of it at half size
for context, a part of it at full size for detail. A learned attention fuses both predictions, so
that memory holds two small views instead of one large one.

    L(y) = (1 - lambda_d) * CE(fused, y) + lambda_d * CE(detail, y inside its window)

Pseudo-labels come from windows that overlap and cover the image, fused the same way. Features, of
which DAFormer's distance and other methods' distillation make use, are the context's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from methods.contract import Segmentation, Segmentor
from methods.daformer import DAFormer
from methods.networks.multi_scale import Detailed, MultiScale, Window, half, window_side
from methods.networks.segmentor import reached


class HRDA(DAFormer):
    """Self-training on context and detail; joins with other such methods."""

    title = "Context-aware high-resolution adaptation"
    paper = "HRDA: Context-Aware High-Resolution Domain-Adaptive Semantic Segmentation, ECCV 2022"

    class Config(DAFormer.Config):
        lambda_d: float = Field(
            0.1, ge=0, le=1, description="share of the detail's own loss in every loss (paper)"
        )

    config: Config
    student: MultiScale

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        if not isinstance(self.student, MultiScale):
            self.student = MultiScale(self.student)
        super().setup(frozen_teachers, companions)

    def segment(self, image: Tensor) -> Segmentation:
        cell = self.student.size_multiple
        return self.student(image, draw_window(image.shape[-2:], cell, self.generator))

    def look(self, image: Tensor) -> Segmentation:
        """The context alone, to which all maps but the logits belong."""
        padded = self.student.pad(image)
        context = self.student.network(half(padded))
        logits, fused, *features = reached(
            [context.logits, context.fused, *context.features], image, padded
        )
        return Segmentation(logits, features, fused)

    def segmentation_loss(
        self, output: Segmentation, label: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Of the fused prediction and, inside its window, of the detail's own."""
        loss = super().segmentation_loss(output, label, weight)
        if not isinstance(output, Detailed):
            return loss
        logits, (rows, columns) = output.detail
        weight = None if weight is None else weight[:, rows, columns]
        closer = Segmentation(logits, output.features, output.fused)
        detail = super().segmentation_loss(closer, label[:, rows, columns], weight)
        return (1 - self.config.lambda_d) * loss + self.config.lambda_d * detail


def draw_window(size: tuple[int, ...], cell: int, generator: torch.Generator) -> Window:
    """A window of half the sides of images of `size` (H, W), for the whole batch.

    Its corner is a multiple of `cell` pixels, uniform over those that keep it inside. Source:
    HRDA's code, which never draws the last one.
    """
    rows, columns = (_draw(length, cell, generator) for length in size)
    return rows, columns


def _draw(length: int, cell: int, generator: torch.Generator) -> slice:
    side = window_side(length, cell)
    places = max(length - side, 0) // cell + 1
    start = int(torch.randint(places, (1,), generator=generator)) * cell
    return slice(start, start + side)
