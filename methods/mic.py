"""Masked image consistency (Hoyer, Dai, Wang, Van Gool, CVPR 2023).

Beside mixing, the student labels target images of which random blocks are hidden, and is held to
what the EMA teacher says of the whole images: context must stand in for what it cannot see.

    L = L(self-training) + lambda_mask * CE(augmented, masked target; pseudo-labels, weight q)
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.contract import Batch
from methods.daformer import DAFormer
from methods.parts.augment import strong_augment
from methods.parts.device import send
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

    config: Config

    def pseudo_terms(
        self, batch: Batch, pseudo: PseudoLabel, step: int
    ) -> Iterator[dict[str, Tensor]]:
        yield from super().pseudo_terms(batch, pseudo, step)
        output = self.segment(self.masked(batch.target_image))
        loss = self.segmentation_loss(output, pseudo.label, pseudo.weight)
        yield {"masked": self.config.lambda_mask * loss}

    def masked(self, image: Tensor) -> Tensor:
        """Augment as mixed images are, then hide blocks: 0 is the mean colour."""
        cfg = self.config
        with torch.autocast(image.device.type, enabled=False):  # images are data
            image = strong_augment(
                image,
                self.generator,
                cfg.jitter_probability,
                cfg.blur_probability,
                cfg.jitter_strength,
            )
            return image * shown(image, cfg.mask_ratio, cfg.mask_block, self.generator)


def shown(image: Tensor, ratio: float, block: int, generator: torch.Generator) -> Tensor:
    """What stays visible of images (B, C, H, W): (B, 1, H, W), 1 or 0.

    Each cell of a grid of round(H / block) x round(W / block) is hidden with probability `ratio`,
    each image's by its own draw; the grid is resized to nearest neighbours. Source: MIC's code.
    """
    size = image.shape[-2:]
    grid = [max(1, round(side / block)) for side in size]
    cells = torch.rand(len(image), 1, *grid, generator=generator) >= ratio
    return F.interpolate(send(cells, image.device).to(image.dtype), size)
