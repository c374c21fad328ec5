"""Which classes a checkpoint's network tells apart, and that a scenario's are the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from harness.config import catalogue
from harness.config.class_set import ClassSet
from harness.errors import BenchError, explain, shortened
from harness.weights.find import Checkpoint
from methods.networks.checkpoint_files import read_content
from methods.networks.weights import read_metadata

#: The key of a file's metadata that holds its classes: a JSON table of colours by name.
CLASSES = "classes"


def as_metadata(classes: ClassSet) -> str:
    """What a file of weights says of its classes, in the order of its channels."""
    return json.dumps(dict(zip(classes.names, classes.palette, strict=True)))


def classes_in(checkpoint: Checkpoint) -> ClassSet:
    """A checkpoint's classes: those of its run, else as its file says, else Cityscapes'."""
    if checkpoint.record:
        return catalogue.classes_of(checkpoint.record.spec.scenario)
    return _said(checkpoint) or catalogue.class_set(catalogue.DEFAULT_CLASSES)


def _said(checkpoint: Checkpoint) -> ClassSet | None:
    """The classes that the file itself names. BenchError where they make no class set."""
    text = read_metadata(checkpoint.path).get(CLASSES)
    if text is None:
        return None
    file = checkpoint.path.name
    try:
        colours = json.loads(text)
        names = tuple(colours)
        for name in catalogue.names("classes"):  # a shipped one says more than names and colours
            if catalogue.class_set(name).names == names:
                return catalogue.class_set(name)
        return ClassSet.model_validate({"name": file, "names": names, "colours": colours})
    except ValidationError as error:
        raise BenchError(f"{file}: the classes that it names: {explain(error)}.") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise BenchError(
            f"{file}: its classes are {shortened(text)}; expected a table of colours by name, as "
            "a run writes it."
        ) from error


def check_classes(checkpoint: Checkpoint, expected: ClassSet) -> None:
    """BenchError where a file names other classes than a scenario's, or in another order.

    Files of other tools spell names in their own ways: refused are the scenario's in another order,
    and those of which less than half are the scenario's.
    """
    classes = classes_in(checkpoint) if checkpoint.record else _said(checkpoint)
    names: Sequence[str] = classes.names if classes else _of_openmmlab(checkpoint)
    theirs, ours = ([_spelled(name) for name in each] for each in (names, expected.names))
    shared = set(theirs) & set(ours)
    is_reordered = sorted(theirs) == sorted(ours)
    if theirs == ours or not (classes or is_reordered or 2 * len(shared) < len(names)):
        return
    raise BenchError(
        f"{checkpoint.path.name} was trained on {_listed(names)}; expected "
        f"{_listed(expected.names)}, the scenario's, in that order: choose a scenario of its own "
        "classes. A training can start from its encoder (bench run --init FILE)."
    )


def _of_openmmlab(checkpoint: Checkpoint) -> list[str]:
    """The names that mmengine or mmcv wrote beside a training's weights; empty where none are."""
    try:
        content = read_content(checkpoint.path, values=False)
    except (ValueError, OSError):  # loading says why
        return []
    meta = content.get("meta") if isinstance(content, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    of_data = meta.get("dataset_meta")
    names = of_data.get("classes") if isinstance(of_data, Mapping) else meta.get("CLASSES")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return []
    return list(names)


def _spelled(name: str) -> str:
    """A class's name without what tools spell in different ways."""
    return re.sub(r"[\s_-]", "", name.lower())


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"
