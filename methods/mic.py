"""Masked image consistency (Hoyer, Dai, Wang, Van Gool, CVPR 2023).

Beside mixing, the student labels target images of which random blocks are hidden, and is held to
what the EMA teacher says of the whole images: context must stand in for what it cannot see.

    L = L(self-training) + lambda_mask * CE(augmented, masked target; pseudo-labels, weight q)

From Cityscapes to ACDC and Dark Zurich the authors mask a source and a target image of a batch of
two, and augment neither: `mask_source=true`, `mask_augment=false`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.contract import ADDED_LATER, Batch
from methods.daformer import DAFormer
from methods.parts.augment import strong_augment
from methods.parts.device import send
from methods.parts.joined import gathered, own_rows, processes
from methods.parts.pseudo_labels import PseudoLabel


class MIC(DAFormer):
    """Self-training that also learns from masked target images; joins with other such methods."""

    title = "Masked image consistency"
    paper = "MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation, CVPR 2023"

    class Config(DAFormer.Config):
        mask_ratio: float = Field(
            0.7, ge=0, le=1, description="probability that a block is hidden (paper)"
        )
        mask_block: int = Field(
            64, ge=1, description="side of a block in pixels (paper; 32 at half resolution)"
        )
        lambda_mask: float = Field(1.0, ge=0, description="weight of the masked images (paper)")
        mask_source: bool = Field(
            False,
            description="half of the masked images are the source's, with its labels",
            json_schema_extra=ADDED_LATER,
        )
        mask_augment: bool = Field(
            True,
            description="masked images are augmented as mixed ones are",
            json_schema_extra=ADDED_LATER,
        )

    config: Config

    def pseudo_terms(
        self, batch: Batch, pseudo: PseudoLabel, step: int
    ) -> Iterator[dict[str, Tensor]]:
        yield from super().pseudo_terms(batch, pseudo, step)
        image, label, weight = batch.target_image, pseudo.label, pseudo.weight
        if self.config.mask_source:
            image, label, weight = half_source(batch, pseudo)
        output = self.segment(self.masked(image))
        loss = self.segmentation_loss(output, label, weight)
        yield {"masked": self.config.lambda_mask * loss}

    def masked(self, image: Tensor) -> Tensor:
        """Augment as mixed images are, then hide blocks: 0 is the mean colour."""
        cfg = self.config
        with torch.autocast(image.device.type, enabled=False):  # images are data
            if cfg.mask_augment:
                image = strong_augment(
                    image,
                    self.generator,
                    cfg.jitter_probability,
                    cfg.blur_probability,
                    cfg.jitter_strength,
                )
            return image * shown(image, cfg.mask_ratio, cfg.mask_block, self.generator)


def half_source(batch: Batch, pseudo: PseudoLabel) -> tuple[Tensor, Tensor, Tensor]:
    """The first half of the batch from the source, at weight 1, and as many of the target's images.

    Images (B, 3, H, W), labels and weights (B, H, W), as many as the batch has; of an odd number
    the target has one more. Halves are the joined batch's, of which these are this process's rows.
    Source: MIC's code, `separate`, for batches of two.
    """
    count = len(batch.target_image) * processes() // 2

    def halves(source: Tensor, target: Tensor) -> Tensor:
        source, target = gathered(source), gathered(target)
        return own_rows(torch.cat([source[:count], target[: len(target) - count]]))

    return (
        halves(batch.source_image, batch.target_image),
        halves(batch.source_label, pseudo.label),
        halves(torch.ones_like(pseudo.weight), pseudo.weight),
    )


def shown(image: Tensor, ratio: float, block: int, generator: torch.Generator) -> Tensor:
    """What stays visible of images (B, C, H, W): (B, 1, H, W), 1 or 0.

    Each cell of a grid of round(H / block) x round(W / block) is hidden with probability `ratio`,
    each image's by its own draw; the grid is resized to nearest neighbours. Source: MIC's code.
    """
    size = image.shape[-2:]
    grid = [max(1, round(side / block)) for side in size]
    count = len(image) * processes()  # a draw for each of the joined batch
    cells = own_rows(torch.rand(count, 1, *grid, generator=generator) >= ratio)
    return F.interpolate(send(cells.contiguous(), image.device).to(image.dtype), size)
