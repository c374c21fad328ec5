"""Entropy of predictions, normalised by its maximum over C classes."""

from __future__ import annotations

from math import log

from torch import Tensor


def self_information(logits: Tensor) -> Tensor:
    """Weighted self-information -p log p / log C of each class: (B, C, H, W), as the logits.

    Its sum over the classes is a pixel's entropy: 0 where one class is certain, 1 where all are
    equally likely. Source: ADVENT, equation 2 and section 3.2.
    """
    log_p = logits.float().log_softmax(1)
    return -log_p.exp() * log_p / log(logits.shape[1])


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the pixels of logits (B, C, H, W), between 0 and 1."""
    return self_information(logits).sum(1).mean()
