from __future__ import annotations

import pytest
import torch

from harness.config import catalogue
from harness.config.class_set import ClassSet
from harness.errors import BenchError
from harness.weights.checkpoint_classes import CLASSES, as_metadata, check_classes, classes_in
from harness.weights.find import Checkpoint
from methods.networks import zoo
from methods.networks.weights import save_weights

THREE = ClassSet.model_validate({"name": "three", "names": ["soil", "crop", "weed"]})


def checkpoint(path, metadata: dict[str, str]) -> Checkpoint:
    save_weights(zoo.build("test_deeplab", 3), path, metadata)
    return Checkpoint(path)


def test_a_file_names_its_classes_and_their_colours(tmp_path):
    named = checkpoint(tmp_path / "a.safetensors", {CLASSES: as_metadata(THREE)})
    assert classes_in(named).names == THREE.names
    assert classes_in(named).palette == THREE.palette
    check_classes(named, THREE)


def test_other_classes_are_refused_by_name(tmp_path):
    named = checkpoint(tmp_path / "a.safetensors", {CLASSES: as_metadata(THREE)})
    turned = THREE.model_copy(update={"names": ("crop", "soil", "weed")})
    for other in (turned, catalogue.class_set("cityscapes19")):
        with pytest.raises(BenchError, match=r"3 classes \(soil, crop, weed\); expected"):
            check_classes(named, other)


def test_a_file_that_says_nothing_is_taken_for_cityscapes(tmp_path):
    plain = checkpoint(tmp_path / "a.safetensors", {})
    assert classes_in(plain).name == "cityscapes19"
    check_classes(plain, THREE)  # their number is found out when it is loaded


@pytest.mark.parametrize("text", ["[1]", "{", '{"soil": [1, 2, 3]}', '{"soil": 1, "crop": 2}'])
def test_what_names_no_classes_is_refused(text, tmp_path):
    broken = checkpoint(tmp_path / "a.safetensors", {CLASSES: text})
    with pytest.raises(BenchError, match=r"a\.safetensors"):
        classes_in(broken)


CITYSCAPES = list(catalogue.class_set("cityscapes19").names)


@pytest.mark.parametrize("where", ["CLASSES", "dataset_meta"])
def test_classes_that_openmmlab_names_are_looked_at(tmp_path, where):
    """In another order they train and score without a word; a class spelled otherwise does not."""

    def of(names: list[str]) -> Checkpoint:
        path = tmp_path / "iter_1.pth"
        named = {"CLASSES": tuple(names)} if where == "CLASSES" else {where: {"classes": names}}
        torch.save({"meta": named, "state_dict": {"weight": torch.zeros(1)}}, path)
        return Checkpoint(path)

    scenario = catalogue.class_set("cityscapes19")
    check_classes(of([name.replace(" ", "_").title() for name in CITYSCAPES]), scenario)
    check_classes(of(["motorbike" if n == "motorcycle" else n for n in CITYSCAPES]), scenario)
    check_classes(of([]), scenario)
    for others in (CITYSCAPES[::-1], ["wall", "sky", *(f"thing {i}" for i in range(148))]):
        with pytest.raises(BenchError, match=rf"{len(others)} classes \({others[0]}"):
            check_classes(of(others), scenario)
