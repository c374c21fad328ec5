"""Scores of a network on target images without their labels, by which a checkpoint may be chosen.

How well each of them tells the better checkpoint is a question that `bench table --selection all`
answers from records; none is known to do it always (Musgrave et al., Three New Validators and a
Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation, arXiv:2208.07360).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.evaluation.metrics import Matrix, iou, mean_iou
from harness.records.schema import CurvePoint, ScoredNetwork

if TYPE_CHECKING:
    from torch import Tensor

#: Of soft neighbourhood density, as published.
TEMPERATURE = 0.05
#: Pixels of an image whose neighbourhoods are looked at: all pairs of a whole image fit nowhere.
NEIGHBOURS = 512
#: Of each validator, whether the higher value is the better one.
HIGHER_IS_BETTER = {"entropy": False, "infomax": True, "snd": True, "agreement": True}
#: Of choosing a checkpoint: without labels, at the end or by a validator, or by its mIoU.
LABEL_FREE = ("last", *HIGHER_IS_BETTER)
RULES = (*LABEL_FREE, "oracle")


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy of each pixel's class probabilities: low where the network is sure.

    probabilities: (B, C, H, W), or (N, C). A scalar in nats, 0 to ln C; lower is better.
    Source: Morerio et al., Minimal-Entropy Correlation Alignment, ICLR 2018.
    """
    return _entropies(probabilities).mean()


def information(mean_probabilities: Tensor, mean_entropy: float) -> float:
    """Mutual information of pixel and class: sure of each pixel, and of many classes.

    mean_probabilities: (C,), over all pixels of all images; mean_entropy of the same pixels. Nats,
    0 to ln C; higher is better. Source: Shi and Sha, Information-Theoretical Learning of
    Discriminative Clusters for Unsupervised Domain Adaptation, ICML 2012.
    """
    return float(entropy(mean_probabilities[None])) - mean_entropy


def neighbourhood_density(probabilities: Tensor) -> Tensor:
    """Soft neighbourhood density: how many pixels are predicted much as a pixel is.

    probabilities: (N, C) of N pixels, two at least -> the mean entropy of each pixel's softmax over
    its similarities to the N - 1 others. A scalar in nats, 0 to ln(N - 1); higher is better.
    Source: Saito et al., Tune it the Right Way, ICCV 2021.
    """
    unit = probabilities / probabilities.norm(dim=1, keepdim=True)
    similarity = unit @ unit.T / TEMPERATURE  # (N, N)
    similarity.fill_diagonal_(-math.inf)
    return entropy(similarity.softmax(1))


def agreement(matrix: Matrix) -> float:
    """How much two networks predict the same: mIoU of one's classes held against the other's.

    matrix: [class of one][class of the other] pixel counts, (C, C). Percent, 0 to 100, over the
    classes that either predicts; which of the two comes first changes nothing. Higher is better.
    """
    return mean_iou(iou(matrix))


def _entropies(probabilities: Tensor) -> Tensor:
    """(B, C, ...) -> (B, ...); 0 log 0 is 0, to its last digit: whether a low one is lower."""
    return -probabilities.xlogy(probabilities).sum(1)


class LabelFreeSums:
    """The label-free scores of one network, over images that it is given one after the other."""

    def __init__(self) -> None:
        self._pixels = 0
        self._entropy = 0.0
        self._probabilities: Tensor | None = None  # (C,), summed over pixels
        self._densities: list[float] = []

    def add(self, probabilities: Tensor) -> None:
        """probabilities: (1, C, H, W) of an image."""
        by_pixel = probabilities[0].flatten(1).T  # (H * W, C)
        summed = by_pixel.double().sum(0)
        before = self._probabilities
        self._probabilities = summed if before is None else before + summed
        self._pixels += len(by_pixel)
        self._entropy += float(_entropies(by_pixel).double().sum())
        self._densities.append(float(neighbourhood_density(by_pixel[_sample(len(by_pixel))])))

    def values(self) -> dict[str, float]:
        """entropy, infomax and snd: the first two over all pixels, the last the images' mean."""
        assert self._probabilities is not None, "no image"
        mean_entropy = self._entropy / self._pixels
        return {
            "entropy": mean_entropy,
            "infomax": information(self._probabilities / self._pixels, mean_entropy),
            "snd": sum(self._densities) / len(self._densities),
        }


def _sample(pixels: int) -> Tensor:
    """Which pixels of an image are looked at: the same ones of every image of that size."""
    import torch  # not with the module: tables, which choose by these scores, need none

    return torch.randperm(pixels, generator=torch.Generator().manual_seed(0))[:NEIGHBOURS]


def merit(point: CurvePoint, rule: str, network: ScoredNetwork) -> float | None:
    """What a rule looks at, so that the higher one is the better; None where a point has none."""
    scores = getattr(point, network)
    if scores is None:
        return None
    if rule == "last":
        return point.step
    if rule == "oracle":
        return scores.miou
    score = point.agreement if rule == "agreement" else getattr(scores, rule)
    return score if score is None or HIGHER_IS_BETTER[rule] else -score


def chosen(points: Sequence[CurvePoint], rule: str, network: ScoredNetwork) -> CurvePoint | None:
    """The point that a rule takes, of equal ones the first; None where it knows none of them."""
    known = [(v, p) for p in points if (v := merit(p, rule, network)) is not None and v == v]
    return max(known, key=lambda pair: pair[0])[1] if known else None
