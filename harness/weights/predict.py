"""`bench predict`: a network's predictions for image files, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from harness.data.classes import CITYSCAPES_IDS, PALETTE, colourise
from harness.data.images import read_upright
from harness.data.loader import at_scales, normalise
from harness.data.transforms import PixelArray
from harness.errors import BenchError
from harness.evaluation.inference import Views, class_scores, most_likely, within_memory
from harness.files import written_whole
from harness.training.precision import autocast
from methods.contract import Segmentor
from methods.networks.modes import evaluating

Rendering = Literal["palette", "overlay", "labelids", "trainids"]

#: How a file's name ends that holds a prediction of that kind.
ENDINGS: dict[Rendering, str] = {
    "palette": "palette",
    "overlay": "overlay",
    "labelids": "labelIds",
    "trainids": "trainIds",
}
CITYSCAPES_IMAGE = "_leftImg8bit.png"
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
#: Share of the colours in an overlay.
OPACITY = 0.5


class Task(NamedTuple):
    image: Path
    out: Path


def plan_predictions(images: Sequence[Path], out: Path, rendering: Rendering) -> list[Task]:
    """Pair every image with the file that its prediction goes to.

    Folders are searched to their depth, and their own folders are kept below `out`. Cityscapes'
    CITY_SEQUENCE_FRAME_leftImg8bit.png gives CITY_SEQUENCE_FRAME_labelIds.png, as its evaluation
    script finds it; of a folder that holds such images, labels next to them are left alone.
    BenchError where there is nothing to read, or where a file would be written twice or over an
    image.
    """
    if out.exists() and not out.is_dir():
        raise BenchError(f"--out {out} is a file; expected a folder, it is made where missing.")
    tasks = []
    for given in images:
        files = _search(given, out) if given.is_dir() else [given]
        if not files:
            raise BenchError(
                f"{given}: no image found; expected some {', '.join(sorted(SUFFIXES))}."
            )
        root = given if given.is_dir() else given.parent
        for image in files:
            if not image.is_file():
                raise BenchError(f"{image}: no such file; expected an image or a folder of images.")
            stem = image.name.removesuffix(CITYSCAPES_IMAGE)
            stem = image.stem if stem == image.name else stem
            below = image.parent.relative_to(root)
            tasks.append(Task(image, out / below / f"{stem}_{ENDINGS[rendering]}.png"))
    _refuse_clashes(tasks)
    return tasks


def _search(folder: Path, out: Path) -> list[Path]:
    """Images of a folder; what an earlier call wrote below it is none."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _below(path, out, folder)
    )
    return [file for file in files if file.name.endswith(CITYSCAPES_IMAGE)] or files


def _below(path: Path, out: Path, folder: Path) -> bool:
    inside = out.resolve()
    return inside != folder.resolve() and path.resolve().is_relative_to(inside)


def _refuse_clashes(tasks: Sequence[Task]) -> None:
    images = {task.image.resolve() for task in tasks}
    writers: dict[Path, Path] = {}
    for task in tasks:
        target = task.out.resolve()
        if target in images:
            raise BenchError(f"{task.out} is one of the images; expected another folder for --out.")
        first = writers.setdefault(target, task.image)
        if first.resolve() != task.image.resolve():
            raise BenchError(
                f"{first} and {task.image} would both be written to {task.out}; "
                "expected one of a name: predict them into folders of their own."
            )


def predict(
    network: Segmentor,
    tasks: Sequence[Task],
    rendering: Rendering,
    *,
    size: tuple[int, int] | None,
    views: Views,
    device: torch.device,
    precision: str = "fp32",
    progress: Callable[[int, int], None],
) -> None:
    """Predict each image and write it, whole or not at all, at the image's own resolution.

    The network gets images resized into `size` = (width, height), aspect kept; None: as they are.
    precision: fp32, bf16 or fp16, what the forward passes are computed in.
    BenchError for a file that is no image; what was written before it stays.
    """
    fewer = within_memory("windows (--slide 512,512,341,341), or a smaller --size")
    with fewer, evaluating(network), torch.inference_mode():
        for done, task in enumerate(tasks, 1):
            image = read_upright(task.image)
            scaled = at_scales(image, size, views.scales)
            inputs = [normalise(view[None].to(device)) for view in scaled]
            scored = class_scores(
                network, inputs, image.shape[:2], views, lambda: autocast(device, precision)
            )
            write_prediction(task.out, most_likely(scored)[0].cpu().numpy(), rendering, image)
            progress(done, len(tasks))


def write_prediction(
    path: Path, train_ids: PixelArray, rendering: Rendering, image: PixelArray
) -> None:
    """Write train ids (H, W) as PNG of that kind; an overlay is over the image (H, W, 3).

    Label ids are Cityscapes', 0 (unlabelled) for ignored pixels.
    """
    picture = _draw(train_ids.astype(np.uint8), rendering, image)
    with written_whole(path) as partial:
        picture.save(partial, format="PNG")


def _draw(train_ids: PixelArray, rendering: Rendering, image: PixelArray) -> Image.Image:
    if rendering == "overlay":
        mixed = (1 - OPACITY) * image + OPACITY * colourise(train_ids)
        return Image.fromarray(mixed.round().astype(np.uint8))
    if rendering == "labelids":
        label_ids = np.zeros(256, np.uint8)
        label_ids[list(CITYSCAPES_IDS.values())] = list(CITYSCAPES_IDS)
        return Image.fromarray(label_ids[train_ids])
    picture = Image.fromarray(train_ids)
    if rendering == "palette":
        picture.putpalette([level for colour in PALETTE for level in colour])
    return picture
