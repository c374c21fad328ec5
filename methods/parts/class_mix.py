"""ClassMix: paste half of the source's classes on the target (Olsson et al., WACV 2021; DACS)."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.contract import IGNORE


def draw_classes(
    labels: Tensor, generator: torch.Generator, *, whole_batch: bool = True, ignore: bool = True
) -> list[Tensor]:
    """Draw, for each image of labels (B, H, W), half (rounded up) of the label values present.

    `whole_batch` draws from the values of all images, `ignore` counts 255 among them: both as in
    the reference.
    """
    drawn = []
    for image in labels:
        values = torch.unique(labels if whole_batch else image).cpu()
        if not ignore:
            values = values[values != IGNORE]
        order = torch.randperm(len(values), generator=generator)
        drawn.append(values[order[: (len(values) + 1) // 2]].to(labels.device))
    return drawn


def class_mask(labels: Tensor, classes: list[Tensor]) -> Tensor:
    """Where each image shows one of its drawn classes: (B, H, W) bool, True takes the source."""
    return torch.stack(
        [torch.isin(label, drawn) for label, drawn in zip(labels, classes, strict=True)]
    )


def paste(mask: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Source where mask (B, H, W), target elsewhere, for (B, H, W) or (B, C, H, W)."""
    return torch.where(mask[:, None] if source.ndim == 4 else mask, source, target)
