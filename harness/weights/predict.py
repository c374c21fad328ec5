"""`bench predict`: a network's predictions for image files, as PNG files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from harness.config.class_set import ClassSet
from harness.data.classes import colourise, lookup_table
from harness.data.encodings import read_grey
from harness.data.eval_loader import at_scales
from harness.data.forms import is_derived, labels_among, plain_stem
from harness.data.images import not_a_file, read_upright
from harness.data.loader import normalise
from harness.data.transforms import PixelArray
from harness.data.walk import SUFFIXES, is_image_name, leave_out, walk
from harness.errors import BenchError, DataError
from harness.evaluation.inference import Views, predicted, within_memory
from harness.files import written_whole
from harness.measure.allocator import WITHOUT_TRAINING, keep_freed_blocks
from harness.report.figures import side_by_side
from harness.training.precision import autocast
from methods.contract import Segmentor
from methods.networks.modes import evaluating

Rendering = Literal["palette", "overlay", "side", "labelids", "trainids"]

#: How a file's name ends that holds a prediction of that kind.
ENDINGS: dict[Rendering, str] = {
    "palette": "palette",
    "overlay": "overlay",
    "side": "side",
    "labelids": "labelIds",
    "trainids": "trainIds",
}
#: Those in classes' colours: a legend lies beside them.
COLOURED: tuple[Rendering, ...] = ("palette", "overlay", "side")
LEGEND = "legend.png"
#: Share of the colours in an overlay.
OPACITY = 0.5


class Prediction(NamedTuple):
    image: Path
    out: Path
    truth: Path | None = None  # its label, in label ids of the classes


def plan_predictions(images: Sequence[Path], out: Path, rendering: Rendering) -> list[Prediction]:
    """Pair every image with the file that its prediction goes to.

    Folders are searched to their depth, and their own folders are kept below `out`. Cityscapes'
    CITY_SEQUENCE_FRAME_leftImg8bit.png gives CITY_SEQUENCE_FRAME_labelIds.png, as its evaluation
    script finds it. Labels of a data set, and what was made from an image beside it, are left out,
    which `walk.noting_left_out` tells, as whatever else a folder holds and is not read.
    BenchError where there is nothing to read, where `out` is a folder of the images, or where a
    file would be written twice, over an image or over a legend.png that is not of an earlier call.
    """
    for given in images:
        folder = given if given.is_dir() else given.parent
        if folder.exists() and out.resolve() == folder.resolve():
            raise BenchError(
                f"--out {out} is the folder of the images; expected another one: predictions among "
                "them would be taken for images."
            )
    tasks: list[Prediction] = []
    inputs: list[Path] = []  # nothing is written over these, whether they are read or not
    for given in images:
        files, there = _search(given, out) if given.is_dir() else ([given], [given])
        inputs += there
        if not files:
            raise BenchError(f"{given}: no image found; expected some {', '.join(SUFFIXES)}.")
        root = given if given.is_dir() else given.parent
        for image in files:
            if reason := not_a_file(image):
                raise BenchError(f"{image}: {reason}; expected an image or a folder of images.")
            name = prediction_name(image, rendering)
            tasks.append(Prediction(image, out / image.parent.relative_to(root) / name))
    _refuse_clashes(tasks, inputs)
    if rendering in COLOURED:
        _refuse_strange_legend(out)
    return tasks


def prediction_name(image: Path, rendering: Rendering) -> str:
    """The name of the file that an image's prediction goes to."""
    return f"{plain_stem(image)}_{ENDINGS[rendering]}.png"


def with_truth(tasks: Sequence[Prediction], folder: Path) -> list[Prediction]:
    """The tasks with the labels of their images: PNG files below a folder, named after them.

    IMAGE.png, IMAGE_labelIds.png or IMAGE_gtFine_labelIds.png; the longest such name counts. Of
    several images or labels of a name, those belong together that lie in folders of the same names.
    BenchError where the folder holds none of any image.
    """
    by_stem: dict[str, list[Path]] = {}
    for file in walk(folder):
        if file.suffix.lower() == ".png":
            by_stem.setdefault(file.stem, []).append(file)
    images = Counter(
        stem for _, stem in {(task.image.parent, plain_stem(task.image)) for task in tasks}
    )
    matched = []
    for task in tasks:
        stem = plain_stem(task.image)
        named = [by_stem.get(stem + end, []) for end in ("_gtFine_labelIds", "_labelIds", "")]
        near = [f for labels in named for f in labels if _corresponds(f, folder, task.image)]
        only = [labels[0] for labels in named if len(labels) == 1 and images[stem] == 1]
        matched.append(task._replace(truth=next(iter(near or only), None)))
    if not any(task.truth for task in matched):
        stem = plain_stem(tasks[0].image)
        raise BenchError(
            f"--truth {folder}: no label of any image found; expected PNG files of label ids with "
            f"the images' names: {stem}.png, {stem}_labelIds.png or {stem}_gtFine_labelIds.png."
        )
    return matched


def _corresponds(label: Path, folder: Path, image: Path) -> bool:
    """Whether a label's folders below `folder` are the last ones of its image."""
    below = label.relative_to(folder).parent.parts
    return bool(below) and image.absolute().parent.parts[-len(below) :] == below


def _search(folder: Path, out: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder to predict, and all that are there; others are noted as left out."""
    there = walk(folder)
    files = [file for file in there if not _below(file, out, folder)]
    pictures = [file for file in files if is_image_name(file.name)]
    readable = [file for file in pictures if not not_a_file(file)]
    stems = {(file.parent, plain_stem(file)) for file in readable}
    labels = labels_among(readable, folder)
    labels.update(file for file in readable if is_derived(file, stems))
    leave_out("written by an earlier call", *sorted(set(there) - set(files)))
    leave_out("no images by their names", *sorted(set(files) - set(pictures)))
    leave_out("no files but broken links or devices", *sorted(set(pictures) - set(readable)))
    leave_out("labels, or made from images beside them", *sorted(labels))
    return [file for file in readable if file not in labels], readable


def _below(path: Path, out: Path, folder: Path) -> bool:
    inside = out.resolve()
    # Its folder, for the path itself may be a link that leads to itself.
    return inside != folder.resolve() and path.parent.resolve().is_relative_to(inside)


def _refuse_clashes(tasks: Sequence[Prediction], inputs: Sequence[Path]) -> None:
    images = {file.resolve() for file in inputs}
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


def _refuse_strange_legend(out: Path) -> None:
    """Earlier predictions in colours lie beside a legend that `bench predict` wrote."""
    endings = tuple(f"_{ENDINGS[rendering]}.png" for rendering in COLOURED)
    if (out / LEGEND).exists() and not any(file.name.endswith(endings) for file in walk(out)):
        raise BenchError(
            f"{out / LEGEND} is there already, without predictions; expected a name free for the "
            "classes' colours: choose another folder for --out, or rename it."
        )


def predict(
    network: Segmentor,
    tasks: Sequence[Prediction],
    rendering: Rendering,
    classes: ClassSet,
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
    BenchError for files that cannot be read as images, once all others are written.
    """
    unread: list[DataError] = []
    keep_freed_blocks(WITHOUT_TRAINING)
    fewer = within_memory("windows (--slide 512,512,341,341), or a smaller --size")
    with fewer, evaluating(network), torch.inference_mode():
        for done, task in enumerate(tasks, 1):
            try:
                image = read_upright(task.image)
            except DataError as error:
                unread.append(error)
                progress(done, len(tasks))
                continue
            scaled = at_scales(image, size, views.scales)
            inputs = [normalise(view[None].to(device)) for view in scaled]
            classes_of_pixels = predicted(
                network, inputs, image.shape[:2], views, lambda: autocast(device, precision)
            )
            train_ids = classes_of_pixels[0].cpu().numpy()
            if rendering == "side":
                truth = _train_ids(task.truth, classes) if task.truth else None
                save(side_by_side(image, train_ids, classes, truth), task.out)
            else:
                write_prediction(task.out, train_ids, rendering, classes, image)
            progress(done, len(tasks))
    if unread:
        counted = f"{len(unread)} of {len(tasks)} images not read, the others are predicted: "
        raise DataError(f"{counted if len(tasks) > 1 else ''}{unread[0]}")


def _train_ids(label: Path, classes: ClassSet) -> PixelArray:
    """A label's train ids (H, W), by the classes' label ids, or as they are without such."""
    ids = read_grey(label)
    if not classes.label_ids:
        return ids
    return lookup_table({classes.label_ids[name]: i for i, name in enumerate(classes.names)})[ids]


def check_rendering(rendering: Rendering, classes: ClassSet) -> None:
    """BenchError for label ids of classes that have none."""
    if rendering == "labelids" and not classes.label_ids:
        raise BenchError(
            f"--as labelids: the classes of {classes.name} have no label ids; expected some under "
            "[label_ids] in the class set's file, or --as trainids."
        )


def write_prediction(
    path: Path,
    train_ids: PixelArray,
    rendering: Rendering,
    classes: ClassSet,
    image: PixelArray,
) -> None:
    """Write train ids (H, W) as PNG of that kind; an overlay is over the image (H, W, 3).

    Label ids are the class set's, 0 (unlabelled) for ignored pixels.
    """
    save(_draw(train_ids.astype(np.uint8), rendering, classes, image), path)


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    with written_whole(path) as partial:
        picture.save(partial, format="PNG")


def _draw(
    train_ids: PixelArray, rendering: Rendering, classes: ClassSet, image: PixelArray
) -> Image.Image:
    if rendering == "overlay":
        mixed = (1 - OPACITY) * image + OPACITY * colourise(train_ids, classes.palette)
        return Image.fromarray(mixed.round().astype(np.uint8))
    if rendering == "labelids":
        label_ids = np.zeros(256, np.uint8)
        label_ids[: len(classes)] = [classes.label_ids[name] for name in classes.names]
        return Image.fromarray(label_ids[train_ids])
    picture = Image.fromarray(train_ids)
    if rendering == "palette":
        picture.putpalette([level for colour in classes.palette for level in colour])
    return picture
