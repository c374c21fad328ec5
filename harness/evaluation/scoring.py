"""The scores of a network on a data set."""

from __future__ import annotations

import torch

from harness.config.schema import Profile, Scenario
from harness.data.datasets import Dataset
from harness.data.loader import eval_batches
from harness.evaluation.inference import Views
from harness.evaluation.metrics import evaluate, scores
from harness.records.schema import Scores
from harness.training.precision import autocast
from methods.contract import Segmentor


def score(
    network: Segmentor,
    dataset: Dataset,
    scenario: Scenario,
    profile: Profile,
    device: torch.device,
) -> Scores:
    """Score a network, already on the device, as the profile says."""
    batches = eval_batches(
        dataset,
        profile.image_size[dataset.name],
        workers=profile.workers,
        device=device,
        scales=profile.tta_scales,
        data_store=profile.data_store,
    )
    matrix = evaluate(
        network, batches, lambda: autocast(device, profile.precision), Views.of(profile)
    )
    return scores(matrix, scenario.convention)
