"""Training batches from data sets.

Every draw comes from a counter-based generator keyed by (seed, stream, number of the sample). So
the order is the same for any number of workers, any step can be resumed without replaying those
before it, and the source's order does not depend on the target.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from harness.config.schema import Profile
from harness.data import transforms
from harness.data.augment import augment
from harness.data.datasets import Dataset
from harness.data.rare_class import RareClassSampler, class_statistics
from harness.data.store import StoredPixels
from harness.data.transforms import PixelArray
from harness.data.workers import patient, worker_options
from harness.errors import DataError
from methods.contract import Batch
from methods.parts.augment import MEAN, STD
from methods.parts.device import constant
from methods.parts.joined import own_rows, processes, total

# Streams of randomness; each number is used once.
_SOURCE, _TARGET, _SOURCE_ORDER, _TARGET_ORDER = range(4)


def normalise(image: Tensor) -> Tensor:
    """Turn grey levels (B, 3, H, W) into the networks' input: float32, ImageNet-normalised."""
    return (image.float() - _channels(MEAN, image.device)) / _channels(STD, image.device)


def grey_levels(image: Tensor) -> Tensor:
    """Turn the networks' input (B, 3, H, W) back into uint8 grey levels."""
    levels = image.float() * _channels(STD, image.device) + _channels(MEAN, image.device)
    return levels.round().clamp(0, 255).to(torch.uint8)


def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    return constant(values, device).view(3, 1, 1)


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Return the generator of one sample."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, number))))


#: Stands for a part of a sample that nobody asked for.
_NOTHING = torch.empty(0, dtype=torch.uint8)


class TrainLoader:
    """Iterates over the batches of steps `start_step` to `steps`, one a micro-batch.

    Steps count micro-batches: `Profile.accumulation` of them make one step of the optimiser. Where
    several processes train together, each iterates over its own rows of the same batches.
    `target=None` is for methods that never look at the target: its image is then empty
    (0, 3, H, W). `source=None` is for those that never look at the source: its image is empty
    likewise, its label (0, H, W), and the target's crops are the same. Target labels are read only
    if asked for. ValueError where both are None.
    """

    def __init__(
        self,
        source: Dataset | None,
        target: Dataset | None,
        profile: Profile,
        seed: int,
        *,
        target_labels: bool = False,
        device: torch.device | str = "cpu",
        start_step: int = 0,
        steps: int,
    ) -> None:
        if source is None and target is None:
            raise ValueError("neither a source nor a target: expected at least one data set")
        self.device = torch.device(device)
        self.profile = profile
        self.steps = range(start_step, steps)
        self._views = _TrainViews(source, target, profile, seed, target_labels)
        self._loader = DataLoader(
            self._views,
            batch_size=profile.batch_size // processes(),
            sampler=own_rows(range(start_step * profile.batch_size, steps * profile.batch_size)),
            # It draws a seed when it starts: from torch's own generator, but where a run goes on.
            generator=torch.Generator() if start_step else None,
            **worker_options(profile.workers, self.device),
        )

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        for views in patient(self._loader):
            yield self._batch(*(part.to(self.device, non_blocking=True) for part in views))

    def unknown_ids(self) -> list[str]:
        """A line a data set on values in its labels that are no ids, of the labels read so far.

        Labels that other processes have read are counted too: all of them are to ask.
        """
        lines = []
        for pixels, counts in self._views.unknown:
            labels = total(counts.sum(0))
            if labels.any():
                ids = ", ".join(f"{i} in {labels[i]}" for i in labels.nonzero().flatten().tolist())
                lines.append(
                    f"{pixels.dataset.name} {pixels.dataset.split}: labels read while training "
                    f"hold unknown ids ({ids} labels), which were ignored; `bench data verify` "
                    "names the files"
                )
        return lines

    def _batch(self, image: Tensor, label: Tensor, target: Tensor, target_label: Tensor) -> Batch:
        if not image.numel():
            image, label = target[:0], target[:0, 0]
        return Batch(
            normalise(image),
            label.long(),
            normalise(target if target.numel() else image[:0]),
            target_label.long() if target_label.numel() else None,
        )


class _TrainViews(TorchDataset):
    """The pair of crops number n, for any n: a pure function of the seed."""

    def __init__(
        self,
        source: Dataset | None,
        target: Dataset | None,
        profile: Profile,
        seed: int,
        target_labels: bool,
    ) -> None:
        self.source, self.target, self.profile = source, target, profile
        self.seed, self.target_labels = seed, target_labels
        self.source_pixels = self._stored(source) if source else None
        self.target_pixels = self._stored(target) if target else None
        #: Unknown values (workers, 256) in the labels of each set, shared with loader processes.
        self.unknown = [
            (pixels, torch.zeros(max(profile.workers, 1), 256, dtype=torch.int64).share_memory_())
            for pixels in (self.source_pixels, self.target_pixels)
            if pixels is not None
        ]
        self.source_order = _Shuffle(len(source), seed, _SOURCE_ORDER) if source else None
        self.target_order = _Shuffle(len(target), seed, _TARGET_ORDER) if target else None
        self.rare_classes = None
        if source and profile.rare_class_sampling:
            self.rare_classes = RareClassSampler(
                class_statistics(source), profile.rcs_temperature, profile.rcs_min_pixels
            )

    def _stored(self, dataset: Dataset) -> StoredPixels:
        size = self.profile.image_size[dataset.name]
        return StoredPixels(dataset, size, self.profile.data_store)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return source image (3, H, W) and label (H, W), then the target's, all uint8.

        Those of a data set that is None are empty.
        """
        source = target = (_NOTHING, _NOTHING)
        worker = get_worker_info()
        for pixels, counts in self.unknown:
            pixels.unknown = counts[worker.id if worker else 0].numpy()
        if self.source_pixels is not None:
            source = self._source(self.source_pixels, generator(self.seed, _SOURCE, number), number)
        if self.target_pixels is not None:
            target = self._target(self.target_pixels, generator(self.seed, _TARGET, number), number)
        return *source, *target

    def _source(
        self, pixels: StoredPixels, rng: np.random.Generator, number: int
    ) -> tuple[Tensor, Tensor]:
        assert self.source_order is not None
        profile = self.profile
        if self.rare_classes:
            wanted, index = self.rare_classes.draw(rng)
            min_pixels = profile.rcs_min_pixels * profile.rcs_min_crop_ratio
            label = pixels.read_label(index)
            corner = transforms.draw_rare_corner(
                label, profile.crop, rng, profile.max_class_ratio, wanted, min_pixels
            )
        else:
            index = self.source_order[number]
            label = pixels.read_label(index)
            corner = transforms.draw_balanced_corner(
                label, profile.crop, rng, profile.max_class_ratio
            )
        flipped = rng.random() < profile.flip
        whole = pixels.read_image(index)
        check_size(pixels.dataset, index, whole, label.shape)
        image = self._cut(whole, corner, flipped)
        image = augment(image, profile.source_augmentation, rng)
        return self._image(image), self._label(self._cut(label, corner, flipped))

    def _target(
        self, pixels: StoredPixels, rng: np.random.Generator, number: int
    ) -> tuple[Tensor, Tensor]:
        assert self.target_order is not None
        profile = self.profile
        index = self.target_order[number]
        if profile.target_with_replacement:
            index = int(rng.integers(len(self.target_order)))
        image = pixels.read_image(index)
        corner = transforms.draw_corner(image.shape, profile.crop, rng)
        flipped = rng.random() < profile.flip
        label = _NOTHING
        if self.target_labels:
            whole = pixels.read_label(index)
            check_size(pixels.dataset, index, image, whole.shape)
            label = self._label(self._cut(whole, corner, flipped))
        return self._image(self._cut(image, corner, flipped)), label

    def _cut(self, pixels: PixelArray, corner: tuple[int, int], flipped: bool) -> PixelArray:
        cut = transforms.crop(pixels, corner, self.profile.crop)
        # Always a copy: what a store maps is read-only.
        return transforms.flip(cut) if flipped else cut.copy()

    def _image(self, image: PixelArray) -> Tensor:
        return to_tensor(transforms.pad_image(image, self.profile.crop))

    def _label(self, label: PixelArray) -> Tensor:
        return to_tensor(transforms.pad_label(label, self.profile.crop))


def check_size(dataset: Dataset, index: int, image: PixelArray, expected: tuple[int, ...]) -> None:
    """DataError where an image is not of the size (height, width) that its label asks for."""
    if image.shape[:2] != expected:
        sample, (height, width) = dataset.samples[index], image.shape[:2]
        raise DataError(
            f"{sample.label}: its image is {width}x{height} pixels where the label asks for "
            f"{expected[1]}x{expected[0]}; expected one size: a file has changed since the run "
            "began. `bench data verify` names such pairs"
        )


class _Shuffle:
    """The index of sample number n when every epoch is a permutation of its own."""

    def __init__(self, length: int, seed: int, stream: int) -> None:
        self.length, self.seed, self.stream = length, seed, stream
        self.epoch = -1
        self.order: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> int:
        epoch, position = divmod(number, self.length)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = generator(self.seed, self.stream, epoch).permutation(self.length)
        return int(self.order[position])


def to_tensor(pixels: PixelArray) -> Tensor:
    """(H, W, 3) -> (3, H, W); a label (H, W) stays as it is."""
    if pixels.ndim == 3:
        pixels = np.stack(cv2.split(pixels))
    return torch.from_numpy(pixels)
