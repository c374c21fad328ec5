"""The README's picture: three renderings with their labels, and what each method predicts.

`python -m harness.weights.picture RESULTS SCENARIO OUT.png` after `bench sweep main`: runs of
seed 0, with the longest schedule that all of the methods have.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import torch

from harness.config import catalogue
from harness.config.suites import run_ids
from harness.data.classes import colourise
from harness.data.eval_loader import eval_batches
from harness.data.scenes import draw_scene
from harness.data.scenes.writer import train_ids_of
from harness.data.sources import find_sources
from harness.data.transforms import PixelArray
from harness.errors import BenchError
from harness.evaluation.most_likely import most_likely
from harness.files import written_whole
from harness.records import store
from harness.records.schema import Record
from harness.report.figures import CELL, compose
from harness.weights.find import find_checkpoint, load_network, network_name
from methods.parts.losses import upsample

METHODS = ("source_only", "daformer", "dualkd", "oracle")


def renderings() -> list[list[tuple[str, PixelArray]]]:
    """One scene of each rendering above its label, with captions."""
    scenes = {
        name: draw_scene(name, "train", index, size=CELL)
        for name, index in (("gta5", 15), ("synthia", 2), ("cityscapes", 3))
    }
    palette = catalogue.class_set("cityscapes19").palette
    return [
        [(f"{name}-like (generated)", scene.image) for name, scene in scenes.items()],
        [("its label", colourise(train_ids_of(scene.label), palette)) for scene in scenes.values()],
    ]


def predictions(results: Path, scenario: str, index: int) -> list[list[tuple[str, PixelArray]]]:
    """A validation image, its label, and each method's prediction at seed 0."""
    chosen = _records(results, scenario)
    spec = chosen[0].spec
    sources = find_sources(spec.scenario, spec.profile, None)
    val = sources.target.open("val")
    palette = catalogue.classes_of(spec.scenario).palette
    size = spec.profile.image_size[spec.target.dataset]
    image, label = next(islice(eval_batches(val, size), index, None))
    panels = [
        (f"{scenario}: target (generated)", val.read_image(index)),
        ("its label", colourise(label[0].numpy(), palette)),
    ]
    for record in chosen:
        checkpoint = find_checkpoint(record.run_id, results)
        network = load_network(checkpoint, network_name(checkpoint), len(palette))[0].eval()
        with torch.inference_mode():
            logits = upsample(network(image).logits, label.shape[-2:])
        assert record.metrics is not None
        caption = f"{record.spec.method}: mIoU {record.metrics.student.miou:.1f} over the whole set"
        panels.append((caption, colourise(most_likely(logits)[0].numpy(), palette)))
    return [panels[:3], panels[3:]]


def _records(results: Path, scenario: str) -> list[Record]:
    """The methods' runs of suite main at seed 0 with the longest schedule that all of them have."""
    asked = run_ids(catalogue.suite("main"))
    by_schedule: dict[int, dict[str, Record]] = {}
    for record in store.read_all(results / "records"):
        spec = record.spec
        wanted = (spec.scenario.name, spec.seed, record.state) == (scenario, 0, "done")
        if wanted and spec.run_id in asked and spec.method in METHODS:
            by_schedule.setdefault(spec.profile.iterations, {})[spec.method] = record
    whole = [steps for steps, records in by_schedule.items() if len(records) == len(METHODS)]
    if not whole:
        raise BenchError(
            f"{results}: no schedule at which all of {', '.join(METHODS)} are done on {scenario}; "
            "`bench sweep main` makes them."
        )
    records = by_schedule[max(whole)]
    return [records[method] for method in METHODS]


def main(results: str, scenario: str, out: str) -> None:
    """Compose the picture and write it."""
    classes = catalogue.class_set("cityscapes19")
    rows = renderings() + predictions(Path(results), scenario, 5)
    with written_whole(Path(out)) as partial:
        compose(rows, classes).save(partial, format="PNG", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
