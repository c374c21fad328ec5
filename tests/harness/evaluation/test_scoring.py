"""How many images are scored together."""

import pytest
import torch

from harness.evaluation.scoring import images_at_once


@pytest.mark.parametrize(
    ("device", "size", "images"),
    [
        ("cpu", (192, 96), 1),
        ("cuda", (192, 96), 16),
        ("cuda", (1024, 512), 4),
        ("cuda", (2048, 1024), 1),
        ("cuda", (4096, 2048), 1),
    ],
)
def test_a_gpu_scores_as_many_as_fit(device, size, images):
    assert images_at_once(size, torch.device(device)) == images
