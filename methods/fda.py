"""FDA: Fourier domain adaptation of the source images (Yang, Soatto, CVPR 2020).

Source images take the amplitudes of a target image's lowest frequencies and keep their phase: they
look like the target, their labels stay right. On the target, predictions of high entropy are
penalised.

    L = CE(source in the target's style) + lambda_charbonnier * mean of (entropy^2 + 0.001^2)^eta

The paper trains a network for each of three bands, averages their predictions into pseudo-labels
and trains again on those. This is its first round with one network, which draws a band each step;
the rounds of self-training and the average of three networks are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from methods.contract import ADDED_LATER, Batch, Method
from methods.parts.augment import denormalise, renormalise
from methods.parts.entropy import self_information
from methods.parts.fourier import swap_low_amplitudes
from methods.parts.losses import charbonnier, cross_entropy

Beta = Annotated[float, Field(ge=0, le=0.5)]


class FDA(Method):
    """Source supervision on images in the target's style, and low entropy on the target."""

    title = "Fourier domain adaptation (one network)"
    paper = "FDA: Fourier Domain Adaptation for Semantic Segmentation, CVPR 2020"

    class Config(Method.Config):
        beta: tuple[Beta, ...] = Field(
            (0.01, 0.05, 0.09),
            min_length=1,
            description="half-width of the swapped square / the image's side (paper); one is drawn "
            "each step",
        )
        lambda_charbonnier: float = Field(
            0.005, ge=0, description="weight of the target's penalised entropy (paper)"
        )
        eta: float = Field(2.0, gt=0, description="exponent of the Charbonnier penalty (paper)")
        entropy_start: float = Field(
            0.0,
            ge=0,
            le=1,
            description="share of the schedule before it (authors' code: 0.5)",
            json_schema_extra=ADDED_LATER,
        )
        clamp_images: bool = Field(
            True,
            description="images in the target's style stay in range (authors' code: they do not)",
            json_schema_extra=ADDED_LATER,
        )

    config: Config

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        cfg = self.config
        logits = self.student(self.in_target_style(batch)).logits
        yield {"source": cross_entropy(logits, batch.source_label, stride=cfg.loss_stride)}
        del logits  # one graph at a time
        if step < cfg.entropy_start * self.iterations:
            return
        logits = self.student(batch.target_image).logits
        unsure = charbonnier(self_information(logits).sum(1), cfg.eta)  # (B, h, w)
        yield {"entropy": cfg.lambda_charbonnier * unsure.mean()}

    def in_target_style(self, batch: Batch) -> Tensor:
        """The source images, each with the low amplitudes of the target image at its place."""
        choices = self.config.beta
        beta = choices[int(torch.randint(len(choices), (), generator=self.generator))]
        source, target = denormalise(batch.source_image), denormalise(batch.target_image)
        with torch.autocast(source.device.type, enabled=False):  # images are data
            styled = swap_low_amplitudes(source, target, beta)
            return renormalise(styled.clamp(0, 1) if self.config.clamp_images else styled)
