"""Thing-class ImageNet feature distance (DAFormer, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.contract import IGNORE
from methods.parts.device import constant
from methods.parts.joined import mean_over


def downscale_label(
    label: Tensor, stride: int, num_classes: int, min_ratio: float = 0.75
) -> Tensor:
    """Label (B, H, W) -> (B, H // stride, W // stride): the majority class of each cell.

    A cell whose majority holds less than `min_ratio` of it is ignored (255); ties go to the lowest
    id; ignored pixels count as a class of their own.
    """
    height, width = (side // stride for side in label.shape[1:])
    classes = torch.where(label == IGNORE, num_classes, label)
    classes = classes[:, : height * stride, : width * stride]
    pixels = classes.unflatten(2, (width, stride)).unflatten(1, (height, stride))
    pixels = pixels.transpose(2, 3).flatten(3)  # (B, h, w, stride * stride)
    # A histogram a cell: one-hot pixels would be twenty maps of the label's size.
    counts = torch.zeros(*pixels.shape[:3], num_classes + 1, device=label.device)
    counts.scatter_add_(3, pixels, torch.ones_like(counts[..., :1]).expand(pixels.shape))
    count, cell = counts.max(3)  # (B, h, w)
    unsure = count / stride**2 < min_ratio
    return torch.where((cell == num_classes) | unsure, IGNORE, cell)


def label_cells(
    label: Tensor, grid: tuple[int, ...], num_classes: int, min_ratio: float = 0.75
) -> Tensor:
    """Label (B, H, W) -> the majority class of each cell of a grid (h, w) of features.

    A crop that is no multiple of the features' stride is resized to one first.
    """
    stride = label.shape[-1] // grid[1]
    size = (grid[0] * stride, grid[1] * stride)
    if label.shape[-2:] != size:
        label = F.interpolate(label[:, None].float(), size)[:, 0].long()  # nearest neighbour
    return downscale_label(label, stride, num_classes, min_ratio)


def class_mask(cells: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Cells (B, h, w) that belong to one of the classes, to any where none is given: bool.

    DAFormer keeps the features of countable objects; a class set need not know which those are.
    """
    if not classes:
        return cells != IGNORE
    return torch.isin(cells, constant(classes, cells.device, cells.dtype))


def feature_distance(features: Tensor, reference: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the joined batch's kept cells of the L2 norm over channels; 0 where there is none.

    features, reference (B, c, h, w); mask (B, h, w) bool. The reference implementation logs NaN
    for an empty mask, with zero gradient.
    """
    # The norm's gradient at 0 is 0: student and reference start equal.
    distance = torch.linalg.vector_norm(features.float() - reference.float(), dim=1)  # (B, h, w)
    if mask is None:
        return distance.mean()
    return mean_over(distance, mask)
