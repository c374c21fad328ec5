"""What a run leaves on a target without labels: label-free figures, and predictions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.config.planning import Plan
from harness.data.datasets import Dataset
from harness.errors import BenchError, in_one_line
from harness.evaluation.curve import CurveMeter
from harness.evaluation.inference import Views
from harness.records.schema import LabelFree
from harness.report.figures import legend
from harness.report.outcome import predictions_folder
from harness.runs.workplace import Workplace
from harness.weights.predict import Prediction, predict, prediction_name, save
from methods.contract import Segmentor


def has_no_labels(plan: Plan) -> bool:
    """Whether the data set that the run adapts to has none; another may be scored in its place."""
    return not plan.sources.target.labels.encodings


def label_free(networks: Sequence[Segmentor], plan: Plan, workplace: Workplace) -> LabelFree:
    """The label-free figures of a student, or of a student and its EMA teacher."""
    spec, images = plan.spec, plan.sources.target.open("train")
    meter = CurveMeter(images, None, spec.scenario, spec.profile, workplace.device)
    with workplace.report.doing("looking at target images without labels"):
        return meter.label_free(networks)


def write_predictions(student: Segmentor, plan: Plan, workplace: Workplace) -> None:
    """Write the student's predictions of all images that it adapted to, as `bench predict` does.

    They and their legend lie beside the weights. Where they cannot be written, a line says why: the
    run goes on.
    """
    spec, profile = plan.spec, plan.spec.profile
    folder = predictions_folder(spec, workplace.results)
    try:
        with workplace.report.counting("predicting the target's images") as progress:
            predict(
                student,
                _tasks(plan.sources.target.open("train"), folder),
                "palette",
                plan.classes,
                size=profile.image_size[spec.target.dataset],
                views=Views.of(profile),
                device=workplace.device,
                precision=profile.precision,
                progress=progress,
            )
        save(legend(plan.classes), folder / "legend.png")
    except (BenchError, OSError) as error:
        workplace.report.say(
            f"not all predictions are in {folder} ({in_one_line(error)}); the run goes on: bench "
            f"predict IMAGES --checkpoint {spec.run_id} makes them"
        )


def _tasks(images: Dataset, out: Path) -> list[Prediction]:
    """Each image with the file of its prediction, folders kept below the one that they share.

    An image keeps its suffix in that file's name where another would have the same.
    """
    files = [Path(os.path.normpath(sample.image)) for sample in images.samples]
    shared = os.path.commonpath([file.parent for file in files])
    places = [file.parent.relative_to(shared) / prediction_name(file, "palette") for file in files]
    times = Counter(places)
    return [
        Prediction(
            file,
            out / (place if times[place] == 1 else place.with_name(f"{file.name}_palette.png")),
        )
        for file, place in zip(files, places, strict=True)
    ]
