"""The most likely class of resized logits, against resizing them."""

import pytest
import torch

from harness.evaluation import most_likely as module
from harness.evaluation.most_likely import most_likely, most_likely_resized
from methods.parts.losses import upsample

NEARLY = 1e-5  # of scores about 1: rounding decides between two that are closer


def resized(logits, sizes):
    for size in sizes:
        logits = upsample(logits, size)
    return logits


def smooth(height, width, cells):
    """Random logits whose classes are areas of about `cells` cells."""
    torch.manual_seed(0)
    small = torch.randn(2, 7, -(-height // cells), -(-width // cells))
    return upsample(small, (height, width))


def sized(height, width, *times):
    return [(height * down, width * across) for down, across in times]


@pytest.mark.parametrize("times", [[(4, 4)], [(4, 4), (8, 8)], [(1, 1), (8, 8)], [(8, 8), (8, 8)],
                                   [(4, 6), (8, 12)], [(16, 4)]], ids=str)  # fmt: skip
@pytest.mark.parametrize(
    ("height", "width", "cells"), [(9, 12, 1), (9, 12, 4), (1, 7, 1), (5, 1, 2)]
)
@pytest.mark.parametrize("laid_out", [torch.contiguous_format, torch.channels_last], ids=str)
def test_it_is_that_of_the_resized_scores(times, height, width, cells, laid_out, monkeypatch):
    monkeypatch.setattr(module, "CELLS", 10)
    logits = smooth(height, width, cells).contiguous(memory_format=laid_out)
    sizes = sized(height, width, *times)
    scores = resized(logits, sizes)
    found = most_likely_resized(logits, sizes)
    assert found.shape == (2, *sizes[-1])
    assert found.dtype == torch.int64
    highest, its_own = scores.amax(1), scores.gather(1, found[:, None])[:, 0]
    assert (highest - its_own).max() < NEARLY
    assert (found != most_likely(scores)).float().mean() < 1e-3


def test_cells_amid_their_class_are_not_resized(monkeypatch):
    asked = []
    real = module.most_likely
    monkeypatch.setattr(module, "most_likely", lambda s: asked.append(s.shape) or real(s))
    logits = torch.zeros(1, 3, 8, 10)
    logits[:, 1, :, :5], logits[:, 2, :, 5:] = 1, 1
    most_likely_resized(logits, [(32, 40), (64, 80)])
    assert asked == [(1, 3, 8, 10), (2 * 8, 3, 64)], "the two columns at the border of two classes"


@pytest.mark.parametrize(
    "sizes", [[(16, 20)], [(33, 40)], [(32, 40), (33, 41)], [(8, 10)], [(4, 5)]]
)
def test_other_sizes_are_resized_as_they_are(sizes):
    logits = smooth(8, 10, 2)
    expected = most_likely(resized(logits, sizes))
    assert torch.equal(most_likely_resized(logits, sizes), expected)


def test_infinite_scores_are_resized_as_they_are():
    logits = smooth(8, 10, 2)
    logits[:, 3] = -torch.inf
    sizes = sized(8, 10, (4, 4), (8, 8))
    expected = most_likely(resized(logits, sizes))
    assert torch.equal(most_likely_resized(logits, sizes), expected)
