"""Evaluation images from data sets, whole and in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from harness.config.schema import DataStore
from harness.data import transforms
from harness.data.datasets import Dataset
from harness.data.loader import check_size, normalise, to_tensor
from harness.data.store import StoredPixels
from harness.data.transforms import PixelArray
from harness.data.workers import patient, worker_options
from methods.parts.joined import own_rows


def eval_batches(
    dataset: Dataset,
    size: tuple[int, int],
    batch: int = 1,
    workers: int = 0,
    device: torch.device | str = "cpu",
    scales: Sequence[float] = (1.0,),
    data_store: DataStore = "auto",
) -> Iterator[tuple[Tensor, ...]]:
    """Yield every image once, in order, whole: (B, 3, H, W) normalised and (B, h, w) int64.

    Where several processes train together, each yields its own share of the images.

    Images are resized into `size` = (width, height), labels keep their full resolution. With
    several `scales` there is an image for each before the label, resized from the file's own
    pixels. B is `batch` at most: images of other sizes than the one before begin a batch of their
    own. At one scale of 1, images come from a store where there is one.
    """
    device = torch.device(device)
    views = _EvalViews(dataset, size, scales, data_store)
    options = {"collate_fn": _stacked, **worker_options(workers, device)}
    loader = DataLoader(views, batch, sampler=own_rows(range(len(views))), **options)
    for stacks in patient(loader):
        for *images, label in stacks:
            yield (
                *(normalise(image.to(device, non_blocking=True)) for image in images),
                label.to(device, non_blocking=True).long(),
            )


def _stacked(samples: Sequence[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """Samples in their order, those in a row that have the same sizes as one batch."""
    rows = groupby(samples, key=lambda sample: [part.shape for part in sample])
    return [tuple(map(torch.stack, zip(*row, strict=True))) for _, row in rows]


class _EvalViews(TorchDataset):
    def __init__(
        self,
        dataset: Dataset,
        size: tuple[int, int],
        scales: Sequence[float],
        data_store: DataStore,
    ) -> None:
        self.dataset, self.size, self.scales = dataset, size, scales
        self.resized = None
        if tuple(scales) == (1.0,):
            self.resized = StoredPixels(dataset, size, data_store, ("image",))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        label = self.dataset.read_label(index)
        height, width = label.shape
        if self.resized:
            image = self.resized.read_image(index)
            width, height = transforms.fit_size((width, height), self.size)
            images = [to_tensor(image)]
        else:
            image = self.dataset.read_image(index)
            images = at_scales(image, self.size, self.scales)
        check_size(self.dataset, index, image, (height, width))
        return *images, to_tensor(label)


def at_scales(
    image: PixelArray, size: tuple[int, int] | None, scales: Sequence[float]
) -> list[Tensor]:
    """Resize an image (H, W, 3) into `size` = (width, height), else its own, times each scale.

    Returns uint8 tensors (3, h, w).
    """
    height, width = image.shape[:2]
    bounds = [tuple(max(round(side * s), 1) for side in size or (width, height)) for s in scales]
    return [to_tensor(transforms.resize_image(image, (w, h))) for w, h in bounds]
