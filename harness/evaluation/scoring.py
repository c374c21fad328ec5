"""The scores of a network on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from harness.config.catalogue import classes_of
from harness.config.schema import Profile, Scenario
from harness.data.datasets import Dataset
from harness.data.eval_loader import eval_batches
from harness.evaluation.inference import Views
from harness.evaluation.metrics import confusion, scores, tally
from harness.evaluation.registry import counters, figures
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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Score a network, already on the device, as the profile says.

    `progress` is told how many images are scored, and how many there are.
    """
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
    classes = classes_of(scenario)
    convention = classes.ways_to_score[scenario.convention]
    wanted = counters(profile.metrics, classes, convention)
    counted = tally(
        network,
        _told(batches, len(dataset), progress),
        [confusion, *wanted.values()],
        lambda: autocast(device, profile.precision),
        Views.of(profile),
    )
    by_metric = {name: counted[counter] for name, counter in wanted.items()}
    return scores(
        counted[confusion],
        classes,
        scenario.convention,
        figures(by_metric, classes, convention),
    )


def _told(
    batches: Iterable[tuple[Tensor, ...]], total: int, progress: Callable[[int, int], None]
) -> Iterator[tuple[Tensor, ...]]:
    """The batches, each counted when the next is asked for: it is scored then."""
    done = 0
    for batch in batches:
        progress(done, total)
        yield batch
        done += len(batch[-1])
    progress(done, total)
