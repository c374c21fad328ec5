"""The scores of a network on a data set."""

from __future__ import annotations

import torch

from harness.config.catalogue import classes_of
from harness.config.schema import Profile, Scenario
from harness.data.datasets import Dataset
from harness.data.loader import eval_batches
from harness.evaluation.inference import Views
from harness.evaluation.metrics import evaluate, scores
from harness.records.schema import Scores
from harness.training.precision import autocast
from methods.contract import Segmentor

#: Pixels of the images that a GPU scores at a time: four of Cityscapes at half resolution.
PIXELS_AT_ONCE = 2**21
LARGEST_BATCH = 16


def images_at_once(size: tuple[int, int], device: torch.device) -> int:
    """How many images of `size` (width, height) are scored together: one on a CPU, which fills."""
    if device.type == "cpu":
        return 1
    return min(max(PIXELS_AT_ONCE // (size[0] * size[1]), 1), LARGEST_BATCH)


def score(
    network: Segmentor,
    dataset: Dataset,
    scenario: Scenario,
    profile: Profile,
    device: torch.device,
) -> Scores:
    """Score a network, already on the device, as the profile says."""
    size = profile.image_size[dataset.name]
    batches = eval_batches(
        dataset,
        size,
        images_at_once(size, device),
        workers=profile.workers,
        device=device,
        scales=profile.tta_scales,
        data_store=profile.data_store,
    )
    matrix = evaluate(
        network, batches, lambda: autocast(device, profile.precision), Views.of(profile)
    )
    return scores(matrix, classes_of(scenario), scenario.convention)
