from __future__ import annotations

import pytest
from cityscapes import CLASSES, PALETTE, SYNTHIA_13, SYNTHIA_16

from harness.config import catalogue
from harness.config.class_set import ClassSet
from harness.data.encodings import labels_of
from harness.errors import DataError


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


@pytest.mark.parametrize(
    ("name", "classes", "left_out"),
    [
        ("synthia16", SYNTHIA_16, {9, 14, 16}),
        ("camvid11", (10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18), {3, 6, 9, 12, 14, 15, 16, 17}),
    ],
)
def test_smaller_class_sets_meet_cityscapes_by_name(name, classes, left_out, tmp_path):
    """In a scenario of the user's that names one; without a word for the others it is refused."""
    small, whole = catalogue.class_set(name), catalogue.class_set("cityscapes19")
    assert small.names == tuple(whole.names[i] for i in classes)
    assert small.palette == tuple(whole.palette[i] for i in classes)
    assert {small.names[i] for i in small.thing_ids} == set(whole.things) & set(small.names)
    file = tmp_path / "mine.toml"
    convention = next(iter(small.conventions))
    text = f'source = "gta5"\ntarget = "camvid"\nclasses = "{name}"\nconvention = "{convention}"\n'
    file.write_text(f'{text}[target_classes]\n"*" = "ignored"\n')
    scenario = catalogue.scenario(str(file))
    assert catalogue.classes_of(scenario) == small
    with pytest.raises(DataError, match=f"classes that {name} has not"):
        labels_of(catalogue.data_set("gta5"), small, scenario.source_classes)
    (table, *_) = labels_of(catalogue.data_set("gta5"), small, scenario.target_classes).encodings
    ids = {whole.label_ids[whole.names[i]]: number for number, i in enumerate(classes)}
    assert {i: n for i, n in enumerate(table.table.tolist()) if n != 255} == ids
    assert left_out == set(range(19)) - set(classes)


def test_the_thirteen_of_sixteen():
    thirteen = catalogue.class_set("synthia16").conventions["without3"]
    assert thirteen.mean == tuple(CLASSES[i] for i in SYNTHIA_13)
