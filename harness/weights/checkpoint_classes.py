"""Which classes a checkpoint's network tells apart, and that a scenario's are the same."""

from __future__ import annotations

import json

from pydantic import ValidationError

from harness.config import catalogue
from harness.config.class_set import ClassSet
from harness.errors import BenchError, explain, shortened
from harness.weights.find import Checkpoint
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
    """BenchError where a file names other classes than a scenario's, or in another order."""
    classes = classes_in(checkpoint) if checkpoint.record else _said(checkpoint)
    if classes is None or classes.names == expected.names:
        return
    raise BenchError(
        f"{checkpoint.path.name} was trained on {_listed(classes)}; expected {_listed(expected)}, "
        "the scenario's, in that order: choose a scenario of its own classes. A training can start "
        "from its encoder (bench run --init FILE)."
    )


def _listed(classes: ClassSet) -> str:
    names = ", ".join(classes.names[:8]) + (", ..." if len(classes) > 8 else "")
    return f"{len(classes)} classes ({names})"
