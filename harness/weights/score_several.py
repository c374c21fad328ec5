"""`bench eval --on`: one checkpoint on several data sets, a column of figures each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch

from harness.config import catalogue
from harness.config.data_set import DataSet
from harness.config.schema import Profile, Scenario
from harness.data.layouts import layout_of
from harness.data.sources import Source, find_scored, sized
from harness.errors import BenchError, DataError
from harness.report.cells import number
from harness.report.columns import Grid
from harness.report.progress import Reporter
from harness.weights.score import Evaluation, Question, conditions, evaluate, load


def evaluate_on_several(
    question: Question, device: torch.device, report: Reporter
) -> list[Evaluation]:
    """Score one checkpoint on each data set of `question.on`, in their order.

    The network, its classes, the convention and all that is not a data set are the same for all.
    Everything is looked up before the first is scored. BenchError for what does not fit.
    """
    scenario, profile, data_root = conditions(question)
    catalogue.use_data_sets(scenario.datasets)
    sets: list[tuple[Scenario, Profile, Source]] = []
    for named in question.on:
        scoring = _scoring(named.strip(), scenario)
        if any(_another_is_called_so(s, scoring) for s, *_ in sets):
            raise BenchError(
                f"--on: {named}: two data sets are called {scoring.scored}; expected a name for "
                "each: rename one of the files."
            )
        if any((s.scored, s.eval_split) == (scoring.scored, scoring.eval_split) for s, *_ in sets):
            raise BenchError(f"--on: {named} twice; expected each data set once.")
        scored_profile = sized(scoring, profile, data_root)
        sets.append((scoring, scored_profile, find_scored(scoring, scored_profile, data_root)))
    loaded = load(question, scenario, profile, report)
    return [
        evaluate(loaded, target, scoring, scored_profile, device, report)
        for scoring, scored_profile, target in sets
    ]


def _scoring(named: str, scenario: Scenario) -> Scenario:
    """The scenario with a data set, NAME or FILE.toml and maybe :SPLIT, that is scored instead."""
    name, split = _parted(named)
    if not name:
        raise BenchError("--on: an empty name; expected data sets with commas between them.")
    own: dict[str, DataSet] = {}
    if name.endswith(".toml"):
        described = catalogue.own_data_set(Path(name))
        own = {described.name: described}
        catalogue.use_data_sets(own)
        name = described.name
    layout = layout_of(name)
    if not layout.has_labels:
        raise DataError(f"{name} has no labels; expected a data set to score on.")
    if not split:
        split = scenario.eval_split if name == scenario.scored_set else "val"
    return scenario.model_copy(
        update={
            "scored": name,
            "eval_split": split,
            "scored_classes": _becomes(name, layout, scenario),
            "datasets": scenario.datasets | own,
        }
    )


def _another_is_called_so(before: Scenario, scoring: Scenario) -> bool:
    """Whether both score a set of one name that two files describe."""
    name = scoring.scored
    return before.scored == name and before.datasets.get(name) != scoring.datasets.get(name)


def _parted(named: str) -> tuple[str, str]:
    """NAME:SPLIT or FILE.toml:SPLIT in two; the split is empty where none is said."""
    before, colon, after = named.rpartition(":")
    return (before, after) if colon and not after.endswith(".toml") else (named, "")


def _becomes(name: str, layout: DataSet, scenario: Scenario) -> dict[str, str]:
    """What classes of other names become: as the scenario says of that set, else of scored ones."""
    if name == scenario.target:
        return scenario.target_classes
    if name == scenario.source:
        return scenario.source_classes
    names = catalogue.class_set(layout.classes).names if layout.classes else layout.class_names()
    return {
        before: after
        for before, after in scenario.scored_classes.items()
        if before in (*names, "*")
    }


def several_grids(evaluations: Sequence[Evaluation]) -> list[Grid]:
    """The mIoU in every convention, and the IoU by class, with a column a data set."""
    first = evaluations[0]
    heading = f"{first.checkpoint} ({first.network}) by data set, mIoU %"
    titles = [_title(evaluation) for evaluation in evaluations]
    by_convention = [
        [
            name,
            *(number(e.scores.conventions[name], ".2f") for e in evaluations),
            _mean(name, evaluations),
        ]
        for name in first.scores.conventions
    ]
    classes = dict.fromkeys(chain.from_iterable(e.scores.iou for e in evaluations))
    by_class = [
        [name, *(number(evaluation.scores.iou.get(name), ".2f") for evaluation in evaluations)]
        for name in classes
    ]
    notes = [f"The scenario's convention is {first.scenario.convention}.", *map(_note, evaluations)]
    return [
        Grid(heading, ["convention", *titles, "mean"], by_convention, notes),
        Grid("IoU by class", ["class", *titles], by_class, []),
    ]


def _title(evaluation: Evaluation) -> str:
    split = evaluation.scenario.eval_split
    return evaluation.target.dataset + ("" if split == "val" else f" {split}")


def _mean(convention: str, evaluations: Sequence[Evaluation]) -> str:
    figures = [evaluation.scores.conventions[convention] for evaluation in evaluations]
    return number(sum(figures) / len(figures), ".2f")


def _note(evaluation: Evaluation) -> str:
    """How many images of which size, and whether the weights may have learned on the set."""
    name, scenario = evaluation.target.dataset, evaluation.scenario
    roles = {scenario.source: "source", scenario.target: "target"}
    seen = f", the scenario's {roles[name]}" if name in roles else ""
    size = "x".join(map(str, evaluation.profile.image_size[name]))
    generated = ", generated: not comparable with papers" if evaluation.target.generated else ""
    images = evaluation.target.val_images
    return f"{_title(evaluation)}: {images} images at {size}{seen}{generated}."
