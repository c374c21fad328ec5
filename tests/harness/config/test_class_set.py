from __future__ import annotations

import pytest
from cityscapes import CLASSES, PALETTE, SYNTHIA_13, SYNTHIA_16

from harness.config import catalogue
from harness.config.class_set import ClassSet


def made(**values) -> ClassSet:
    return ClassSet.model_validate({"name": "mine", "names": ["soil", "crop"], **values})


def test_cityscapes_classes_are_as_published():
    shipped = catalogue.class_set("cityscapes19")
    assert (shipped.names, shipped.palette) == (CLASSES, PALETTE)
    assert shipped.thing_ids == (6, 7, *range(11, 19))
    ways = shipped.conventions
    for name, classes in (("16", SYNTHIA_16), ("19", SYNTHIA_16), ("16_13", SYNTHIA_13)):
        convention = f"{'rescaled' if name == '19' else 'ignored'}{name}"
        assert shipped.ids_of(ways[convention].mean) == classes
    for convention in ("ignored16", "ignored16_13"):
        assert shipped.ids_of(ways[convention].labelled) == SYNTHIA_16


def test_every_class_has_a_colour_of_its_own():
    many = ClassSet.model_validate({"name": "many", "names": [f"class {i}" for i in range(60)]})
    assert len({*many.palette, (0, 0, 0)}) == 61
    assert made(colours={"crop": (1, 2, 3)}).palette[1] == (1, 2, 3)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"names": ["soil"]}, "at least 2"),
        ({"names": ["soil", "soil"]}, "named twice"),
        ({"names": ["soil", "ignored"]}, "stands for no class"),
        ({"things": ["car"]}, "things names 'car'; expected some of soil, crop"),
        ({"conventions": {"some": {"mean": ["car"]}}}, r"conventions\.some names 'car'"),
        ({"label_ids": {"soil": 1}}, "not every class"),
    ],
)
def test_a_class_set_that_cannot_be_meant_is_refused(values, said):
    with pytest.raises(ValueError, match=said):
        made(**values)
