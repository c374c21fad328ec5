"""How a network is applied to an image: whole or in windows, mirrored too, at several scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.config.schema import Profile, Scales, Slide
from harness.errors import BenchError, explain
from harness.evaluation.most_likely import most_likely, most_likely_resized

if TYPE_CHECKING:
    from torch import Tensor

    from methods.contract import Segmentor

Autocast = Callable[[], AbstractContextManager]


class Views(BaseModel):
    """The views of an image whose predictions make one; by default the whole image alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slide: Slide | None = None
    flip: bool = False
    scales: Scales = (1.0,)

    @classmethod
    def of(cls, profile: Profile) -> Views:
        return cls(slide=profile.slide, flip=profile.tta_flip, scales=profile.tta_scales)

    def changed(self, **given: Any) -> Views:
        """The same but for what is given and not None. BenchError for values that do not fit."""
        values = {name: value for name, value in given.items() if value is not None}
        try:
            return Views(**self.model_dump() | values)
        except ValidationError as error:
            raise BenchError(f"--{explain(error)}.") from error


WHOLE = Views()


def class_scores(
    network: Segmentor,
    images: Sequence[Tensor],
    size: tuple[int, ...],
    views: Views = WHOLE,
    autocast: Autocast = nullcontext,
) -> Tensor:
    """Score every class at every pixel of `size` -> (B, C, *size), float32; arg max is the class.

    images: the same (B, 3, h, w) at each of the views' scales. One view gives its logits, resized
    bilinearly; several give the mean of their probabilities, each resized before the softmax.
    Source: mmsegmentation's whole and slide inference and its test-time augmentation.
    """
    from methods.parts.losses import upsample

    assert len(images) == len(views.scales), "an image a scale"
    mirrors = (False, True) if views.flip else (False,)
    if len(images) == len(mirrors) == 1:
        return upsample(_logits(network, images[0], views.slide, autocast), size)
    total: Tensor | None = None
    for image in images:
        for mirrored in mirrors:
            logits = _logits(network, image.flip(-1) if mirrored else image, views.slide, autocast)
            # Mirrored back while it is small.
            logits = upsample(logits.flip(-1) if mirrored else logits, size)
            probabilities = logits.softmax(1)
            del logits  # a map of every class at full size: two at a time are enough
            total = probabilities if total is None else total.add_(probabilities)
            del probabilities
    assert total is not None
    return total.div_(len(images) * len(mirrors))


def predicted(
    network: Segmentor,
    images: Sequence[Tensor],
    size: tuple[int, ...],
    views: Views = WHOLE,
    autocast: Autocast = nullcontext,
) -> Tensor:
    """Class of each pixel of `size`, (B, *size) int64: that of the highest of `class_scores`."""
    if views.flip or len(views.scales) > 1:
        return most_likely(class_scores(network, images, size, views, autocast))
    (image,) = images
    if views.slide is not None:
        logits = _logits(network, image, views.slide, autocast)
        return most_likely_resized(logits, [size])
    return most_likely_resized(_forward(network, image, autocast), [image.shape[-2:], size])


def _logits(network: Segmentor, image: Tensor, slide: Slide | None, autocast: Autocast) -> Tensor:
    """image: (B, 3, H, W) -> logits (B, C, H, W), in windows the mean of those that overlap."""
    from methods.parts.losses import upsample

    if slide is None:
        return upsample(_forward(network, image, autocast), image.shape[-2:])
    total: Tensor | None = None
    count = image.new_zeros(image.shape[-2:])  # (H, W)
    for rows, columns in windows(image.shape[-2:], slide):
        part = image[..., rows, columns]
        logits = upsample(_forward(network, part, autocast), part.shape[-2:])
        if total is None:
            total = logits.new_zeros(*logits.shape[:2], *image.shape[-2:])
        total[..., rows, columns] += logits
        count[rows, columns] += 1
    assert total is not None
    return total.div_(count)


def _forward(network: Segmentor, image: Tensor, autocast: Autocast) -> Tensor:
    """image: (B, 3, H, W) -> float32 logits at the network's stride. BenchError for NaN."""
    with autocast():
        logits = network(image).logits.float()
    if bool(logits.isnan().any()):  # the highest of them would be called the first class
        raise BenchError(
            "the network gives NaN for class scores; expected finite ones. Its "
            "weights are too large: the training has diverged (try a smaller lr), or the "
            "precision is too low (--set precision=fp32)."
        )
    return logits


@contextmanager
def within_memory(remedy: str) -> Iterator[None]:
    """Turn what does not fit into the GPU into a BenchError that says what would."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BenchError(f"out of GPU memory; expected images to fit. Try {remedy}.") from error


def windows(size: tuple[int, ...], slide: Slide) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of each window over an image of `size` (H, W).

    They start a stride apart; the last of a row or column ends where the image ends. Along a side
    that is shorter than the crop there is one.
    """
    for top in _starts(size[0], slide[0], slide[2]):
        for left in _starts(size[1], slide[1], slide[3]):
            yield slice(top, top + slide[0]), slice(left, left + slide[1])


def _starts(length: int, crop: int, stride: int) -> list[int]:
    last = max(length - crop, 0)
    return [*range(0, last, stride), last]
