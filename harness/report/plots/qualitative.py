"""A grid of pictures: image, truth and what each method predicts, with the classes' colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.data.classes import IGNORE, colourise
from harness.report.plots.style import heading, new_figure, short

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from harness.config.class_set import ClassSet
    from harness.data.transforms import PixelArray


@dataclass(frozen=True)
class Example:
    """One validation image with its label and predictions."""

    name: str
    image: PixelArray  # (H, W, 3)
    label: PixelArray  # (h, w) train ids, 255: ignored
    predictions: dict[str, PixelArray]  # by row: (h, w) train ids
    classes: ClassSet


def draw(examples: Sequence[Example], title: str, width: float) -> Figure:
    """A column an image, a line a method; the legend has the classes that occur."""
    methods = list(dict.fromkeys(name for one in examples for name in one.predictions))
    lines = ["image", "label", *methods]
    height, wide = examples[0].image.shape[:2]
    cell = (width - 0.75) / len(examples) * height / wide
    present = classes_in(examples)
    legend = 0.16 * -(-len(present) // max(2, int(width / 1.05)))
    figure = new_figure(width, (cell + 0.03) * len(lines) + 0.3 + legend, pad=0.01)
    grid = figure.subplots(len(lines), len(examples), squeeze=False)
    for x, example in enumerate(examples):
        pictures = [example.image, colourise(example.label, example.classes.palette)]
        pictures += [colourise(example.predictions[m], example.classes.palette) for m in methods]
        for axes, picture, line in zip(grid[:, x], pictures, lines, strict=True):
            axes.imshow(picture, interpolation="nearest", aspect="auto",
                        extent=(0, wide, height, 0))  # fmt: skip
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if x == 0:
                axes.set_ylabel(short(line, 26), rotation=0, ha="right", va="center", fontsize=6)
    heading(figure, title)
    _legend(figure, examples[0].classes, present, max(2, int(width / 1.05)))
    return figure


def classes_in(examples: Sequence[Example]) -> list[int]:
    """Train ids that a label or a prediction holds, in their order; ignored pixels aside."""
    arrays: list[npt.NDArray[np.integer]] = [one.label for one in examples]
    arrays += [prediction for one in examples for prediction in one.predictions.values()]
    ids = set().union(*(np.unique(array).tolist() for array in arrays))
    return sorted(ids - {IGNORE})


def _legend(figure: Figure, classes: ClassSet, present: Sequence[int], columns: int) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(color="#{:02x}{:02x}{:02x}".format(*classes.palette[i]), label=classes.names[i])
        for i in present
    ]
    figure.legend(
        handles=patches, loc="outside lower left", ncols=columns, fontsize=5.5, handlelength=0.8,
        handleheight=0.8, columnspacing=0.8, labelspacing=0.25, borderpad=0.6,
    )  # fmt: skip
