"""What runs predict for some validation images: the panels of a qualitative figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from harness.analysis.comparison import Table
from harness.config import catalogue
from harness.data.datasets import Dataset
from harness.data.eval_loader import at_scales
from harness.data.loader import normalise
from harness.data.sources import find_target
from harness.data.transforms import PixelArray, resize_image, resize_label
from harness.errors import BenchError, in_one_line
from harness.evaluation.inference import Views, predicted, within_memory
from harness.measure.allocator import WITHOUT_TRAINING, keep_freed_blocks
from harness.records.schema import Record
from harness.report.plots.qualitative import Example
from harness.training.precision import autocast, set_float32
from harness.weights.find import find_checkpoint, load_network, network_name
from methods.networks.modes import evaluating

#: Pixels of a panel's longer side, beyond which a figure only grows.
LARGEST_SIDE = 768


class Gallery(NamedTuple):
    """Panels of a table's rows, and the rows that have none, with the reason."""

    examples: list[Example]
    left_out: list[str]
    runs: dict[str, str]  # by row: the id of the run that predicted


def gallery(
    table: Table,
    results: Path,
    data_root: Path | None,
    indices: Sequence[int] | None,
    device: torch.device,
) -> Gallery:
    """Predict validation images with each row's first seed whose weights are below `results`.

    indices: of the images, counted from 0; None: three spread over the set. BenchError where no
    weights are there, or no such image is, or where the data is not what the runs were scored on.
    """
    first = next(iter(table.runs.values()))[0]
    dataset = _validation_images(first, data_root)
    chosen = _chosen(indices, len(dataset))
    examples = [_truth(dataset, index) for index in chosen]
    left_out, runs = [], {}
    for row, records in table.runs.items():
        try:
            record = _with_weights(records, results)
            _predict(record, results, dataset, chosen, examples, row, device)
        except BenchError as error:
            left_out.append(f"{row}: {in_one_line(error)}")
        else:
            runs[row] = record.run_id
    if not runs:
        raise BenchError(f"{table.heading}: no run's weights can be used; {left_out[0]}")
    return Gallery(examples, left_out, runs)


def _validation_images(record: Record, data_root: Path | None) -> Dataset:
    spec = record.spec
    scenario = catalogue.found_again(spec.scenario)
    target = find_target(scenario, spec.profile, None if spec.target.generated else data_root)
    if target.ref.fingerprint != spec.target.fingerprint:
        raise BenchError(
            f"run {record.run_id} was scored on {spec.target.dataset} of fingerprint "
            f"{spec.target.fingerprint}, {target.ref.fingerprint} found; expected the same images: "
            "the same --data-root, or the uda-bench that generated them."
        )
    if not target.ref.val_images:
        raise BenchError(
            f"run {record.run_id} adapted to {spec.target.dataset}, which has no labels; expected "
            "a run that was scored: the run's own predictions lie beside its weights."
        )
    return target.open("val")


def _chosen(indices: Sequence[int] | None, count: int) -> list[int]:
    if indices is None:
        return list(dict.fromkeys(count * part // 6 for part in (1, 3, 5)))
    if outside := [index for index in indices if not 0 <= index < count]:
        raise BenchError(f"--images {outside[0]}: numbers from 0 to {count - 1} expected.")
    return list(dict.fromkeys(indices))


def _truth(dataset: Dataset, index: int) -> Example:
    image = dataset.read_image(index)
    size = _within(image.shape[1], image.shape[0])
    return Example(
        name=dataset.samples[index].image.name,
        image=resize_image(image, size),
        label=resize_label(dataset.read_label(index), size),
        predictions={},
        classes=dataset.classes,
    )


def _within(width: int, height: int) -> tuple[int, int]:
    factor = min(1.0, LARGEST_SIDE / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _with_weights(records: Sequence[Record], results: Path) -> Record:
    """The first record whose weights are there. BenchError of the first where none has any."""
    errors = []
    for record in records:
        try:
            find_checkpoint(record.run_id, results)
        except BenchError as error:
            errors.append(error)
        else:
            return record
    raise errors[0]


def _predict(
    record: Record,
    results: Path,
    dataset: Dataset,
    chosen: Sequence[int],
    examples: Sequence[Example],
    row: str,
    device: torch.device,
) -> None:
    """Add the row's predictions to the examples, scored as the run was."""
    checkpoint = find_checkpoint(record.run_id, results)
    network = load_network(checkpoint, network_name(checkpoint), len(dataset.classes))[0].to(device)
    profile = record.spec.profile
    views, size = Views.of(profile), profile.image_size[dataset.name]
    predictions: list[PixelArray] = []
    keep_freed_blocks(WITHOUT_TRAINING)
    set_float32(profile.tf32)
    with within_memory("--device cpu"), evaluating(network), torch.inference_mode():
        for index in chosen:
            image = dataset.read_image(index)
            inputs = [normalise(v[None].to(device)) for v in at_scales(image, size, views.scales)]
            of_pixels = predicted(
                network, inputs, image.shape[:2], views,
                lambda: autocast(device, profile.precision),
            )  # fmt: skip
            predictions.append(of_pixels[0].cpu().numpy().astype(np.uint8))
    for example, prediction in zip(examples, predictions, strict=True):
        height, width = example.image.shape[:2]
        example.predictions[row] = resize_label(prediction, (width, height))
