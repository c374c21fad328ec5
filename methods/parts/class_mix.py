"""ClassMix: paste half of the source's classes on the target (Olsson et al., WACV 2021; DACS)."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.contract import IGNORE
from methods.parts.device import send
from methods.parts.joined import gathered, own_rows

#: Label values are bytes.
VALUES = 256


def values_present(labels: Tensor) -> Tensor:
    """Which values each of the labels (B, H, W) holds: (B, 256) bool, on the CPU.

    The draw needs to know them: this is where the host waits for a GPU.
    """
    present = torch.zeros(len(labels), VALUES, dtype=torch.bool, device=labels.device)
    return present.scatter_(1, labels.flatten(1), True).cpu()


def draw_classes(
    present: Tensor, generator: torch.Generator, *, whole_batch: bool = True, ignore: bool = True
) -> list[Tensor]:
    """Draw, for each image, half (rounded up) of the label values `present` (B, 256).

    `whole_batch` draws from the values of all images of the joined batch, `ignore` counts 255
    among them: both as in the reference.
    """
    drawn = []
    present = gathered(present)
    for image in present:
        values = (present.any(0) if whole_batch else image).nonzero()[:, 0]
        if not ignore:
            values = values[values != IGNORE]
        order = torch.randperm(len(values), generator=generator)
        drawn.append(values[order[: (len(values) + 1) // 2]])
    return own_rows(drawn)


def class_mask(labels: Tensor, classes: list[Tensor]) -> Tensor:
    """Where each image shows one of its drawn classes: (B, H, W) bool, True takes the source."""
    chosen = torch.zeros(len(labels), VALUES, dtype=torch.bool)
    for row, drawn in zip(chosen, classes, strict=True):
        row[drawn] = True
    return send(chosen, labels.device).gather(1, labels.flatten(1)).view_as(labels)


def paste(mask: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Source where mask (B, H, W), target elsewhere, for (B, H, W) or (B, C, H, W)."""
    return torch.where(mask[:, None] if source.ndim == 4 else mask, source, target)
