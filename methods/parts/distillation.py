"""Feature distillation: carry a frozen teacher's maps over to the student's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.contract import Segmentation, Segmentor
from methods.parts.joined import mean_over
from methods.parts.losses import upsample

Stage = Literal["1", "2", "3", "4", "fused"]
Distance = Literal["l2", "mse", "cosine", "kl", "cosine+smooth_l1"]
Projection = Literal["auto", "conv", "mlp"]


def stage_maps(output: Segmentation, stages: Sequence[Stage]) -> list[Tensor]:
    """The maps of those stages: encoder stages count from 1, `fused` is the decoder's map."""
    return [output.fused if s == "fused" else output.features[int(s) - 1] for s in stages]


def stage_channels(network: Segmentor, stages: Sequence[Stage]) -> list[int]:
    """Channels of each stage's map. ValueError for a stage that the network has not."""
    count = len(network.feature_channels)
    if missing := [s for s in stages if s != "fused" and int(s) > count]:
        raise ValueError(
            f"stage {missing[0]} of {network.name}, whose encoder gives {count} maps; expected "
            f"stages up to {count}"
        )
    return [
        network.fused_channels if s == "fused" else network.feature_channels[int(s) - 1]
        for s in stages
    ]


class Projections(nn.ModuleList):
    """One projection a stage on the student's side, used in training only."""

    def __init__(
        self, student: Sequence[int], teacher: Sequence[int], projection: Projection
    ) -> None:
        """`auto` is the identity where widths match, else a 1x1 convolution; `conv` always one.

        `mlp` is VFM-UDA++'s: two of them, four times the student's channels between.
        """
        super().__init__(
            _perceptron(width, wanted)
            if projection == "mlp"
            else nn.Identity()
            if projection == "auto" and width == wanted
            else nn.Conv2d(width, wanted, 1)
            for width, wanted in zip(student, teacher, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [project(m) for project, m in zip(self, maps, strict=True)]


def _perceptron(channels: int, out_channels: int) -> nn.Sequential:
    from timm.layers import LayerNorm2d  # timm imports torch's compiler: 75 MiB and seconds

    hidden = 4 * channels
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1),
        LayerNorm2d(hidden),
        nn.GELU(),
        nn.Conv2d(hidden, out_channels, 1),
    )


def distill(
    student: Tensor,
    teacher: Tensor,
    distance: Distance,
    normalise: bool,
    mask: Tensor | None = None,
) -> Tensor:
    """Distance between maps (B, c, h, w) and (B, c, h', w'), mean over kept pixels (joined batch).

    The teacher's map is resized bilinearly to the student's grid; `normalise` scales each pixel's
    channels to unit L2 norm; mask (B, H, W) bool keeps pixels, 0 where it keeps none.
    """
    teacher = upsample(teacher.float(), student.shape[-2:])
    student = student.float()
    if normalise and distance != "cosine":  # which is blind to length anyway
        student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    per_pixel = _DISTANCES[distance](student, teacher)  # (B, h, w)
    if mask is None:
        return per_pixel.mean()
    kept = F.interpolate(mask[:, None].float(), size=per_pixel.shape[-2:])[:, 0]
    return mean_over(per_pixel, kept)


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of each pixel's softmax, logits (B, C, h, w) -> (B, h, w), in nats."""
    return F.kl_div(
        student.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True
    ).sum(1)


def _cosine(student: Tensor, teacher: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(student, teacher, dim=1)


def _cosine_and_smooth_l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Source: VFM-UDA++'s code."""
    smooth_l1 = F.smooth_l1_loss(student, teacher, reduction="none").mean(1)
    return 0.9 * _cosine(student, teacher) + 0.1 * smooth_l1


_DISTANCES = {
    "l2": lambda s, t: torch.linalg.vector_norm(s - t, dim=1),
    "mse": lambda s, t: (s - t).square().mean(1),
    "cosine": _cosine,
    "kl": divergence,
    "cosine+smooth_l1": _cosine_and_smooth_l1,
}
