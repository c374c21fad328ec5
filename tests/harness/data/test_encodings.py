from __future__ import annotations

import cv2
import numpy as np
import pytest
from cityscapes import CAMVID_IDS, CITYSCAPES_IDS, SYNTHIA_IDS

from harness.config import catalogue
from harness.config.class_set import ClassSet
from harness.config.data_set import DataSet
from harness.data.classes import lookup_table
from harness.data.datasets import open_dataset
from harness.data.describe import describe
from harness.data.encodings import labels_of
from harness.data.verify import quick_check, verify
from harness.errors import DataError


def described(**encoding) -> DataSet:
    layout = {"places": [{"images": "images", "labels": ["labels"]}]}
    return DataSet.model_validate(
        {"name": "mine", "layouts": [layout], "splits": {"train": {}}, "encodings": [encoding]}
    )


#: As RobustNet maps Mapillary's ids of version 1.2 to Cityscapes' train ids.
MAPILLARY_IDS = {
    13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7, 30: 8, 29: 9,
    27: 10, 19: 11, 20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15, 58: 16, 57: 17, 52: 18,
}  # fmt: skip
#: IDD's own ids, as its table gives them csTrainIds, and the ids of level 3.
IDD_IDS = {
    0: 0, 3: 1, 5: 9, 6: 11, 8: 12, 9: 17, 10: 18, 12: 13, 13: 14, 14: 15, 17: 16, 20: 3, 21: 4,
    24: 7, 25: 6, 26: 5, 29: 2, 32: 8, 33: 10,
}  # fmt: skip
IDD_LEVEL3_IDS = {
    0: 0, 2: 1, 3: 9, 4: 11, 5: 12, 6: 17, 7: 18, 9: 13, 10: 14, 11: 15, 14: 3, 15: 4, 18: 7,
    19: 6, 20: 5, 22: 2, 24: 8, 25: 10,
}  # fmt: skip
#: WildDash's ids beyond Cityscapes', by its unified label policy.
WILDDASH_IDS = {
    34: 14, 35: 13, 38: 0, 41: 0, 43: 0, 45: 5, 46: 5, 47: 12, 48: 12, 49: 12, 52: 1, 56: 3,
    58: 17, 61: 0, 64: 0, 65: 1, 70: 0, 74: 0, 75: 0, 76: 0, 77: 1, 78: 9, 79: 0, 80: 1,
}  # fmt: skip
FIVE = {"1": "soil", "2": "crop", "3": "weed"}
MERGED = ClassSet.model_validate({"name": "merged", "names": ["plant", "soil"]})


def test_the_shipped_sets_map_ids_as_their_authors_say():
    """An independent copy of the ids: what the files say must be this."""
    train_ids = lookup_table({i: i for i in range(19)})
    expected = {
        "gta5": [lookup_table(CITYSCAPES_IDS)],
        "synthia": [lookup_table(SYNTHIA_IDS)],
        "camvid": [lookup_table(CAMVID_IDS)],
    }
    for name in ("cityscapes", "acdc", "darkzurich"):
        expected[name] = [lookup_table(CITYSCAPES_IDS), train_ids]
    seven, six = ({i: i - 1 for i in range(1, classes + 1)} for classes in (7, 6))
    expected["loveda"] = [lookup_table(seven)]
    for name in ("potsdam", "vaihingen"):
        expected[name] = [lookup_table(six)]
    expected["bdd100k"] = [train_ids]
    vistas = lookup_table(MAPILLARY_IDS)
    expected["mapillary"] = [vistas, vistas]
    no_terrain = {i: c for i, c in CITYSCAPES_IDS.items() if i != 22}
    expected["idd"] = [
        train_ids, *(lookup_table(ids) for ids in (IDD_IDS, IDD_LEVEL3_IDS, no_terrain))
    ]  # fmt: skip
    expected["wilddash2"] = [lookup_table(CITYSCAPES_IDS | WILDDASH_IDS)]
    assert sorted(expected) == catalogue.names("datasets")
    two_ways = ("camvid", "potsdam", "vaihingen")  # ids, and colours
    for name, tables in expected.items():
        encodings = labels_of(catalogue.data_set(name)).encodings
        for encoding, table in zip(encodings, tables, strict=name not in two_ways):
            np.testing.assert_array_equal(encoding.table, table)


def test_classes_meet_by_name_and_may_be_merged():
    data_set = described(ids=FIVE, ignored=[0])
    own = labels_of(data_set)
    assert own.classes.names == ("soil", "crop", "weed")
    assert own.encodings[0].table[:4].tolist() == [255, 0, 1, 2]
    merged = labels_of(data_set, MERGED, {"crop": "plant", "weed": "plant"})
    assert merged.encodings[0].table[:4].tolist() == [255, 1, 0, 0]
    others = labels_of(data_set, MERGED, {"crop": "plant", "*": "ignored"})
    assert others.encodings[0].table[:4].tolist() == [255, 1, 0, 255]


@pytest.mark.parametrize(
    ("becomes", "said"),
    [
        ({}, "classes that merged has not: crop, weed"),
        ({"corn": "plant"}, "no class 'corn'; expected one of soil, crop, weed"),
        ({"*": "tree"}, "becomes 'tree'; expected one of plant, soil, ignored"),
    ],
)
def test_no_class_is_left_out_unsaid(becomes, said):
    with pytest.raises(DataError, match=said):
        labels_of(described(ids=FIVE), MERGED, becomes)


@pytest.mark.parametrize("grid", [True, False])
def test_colours_off_and_on_camvids_grid(grid, tmp_path):
    colours = {"soil": [[64, 128, 0]], "crop": [[0, 0, 192], [192, 0, 0]]}
    if not grid:
        colours["crop"][0] = [1, 2, 3]
    data_set = described(stored="colours", colours=colours, ignored_colours=[[0, 0, 0]])
    labels = labels_of(data_set)
    rows = [*colours["soil"], *colours["crop"], [0, 0, 0], [65, 128, 0]]
    cv2.imwrite(str(tmp_path / "a.png"), np.array([rows], np.uint8)[..., ::-1])
    encoding = labels.encoding_of(tmp_path / "a.png")
    ids = encoding.read(tmp_path / "a.png")
    assert encoding.table[ids][0].tolist() == [0, 1, 1, 255, 255]
    assert encoding.unknown(ids) == [255]  # the last colour alone
    assert encoding.strange(tmp_path / "a.png", ids) == "unknown colours [65, 128, 0]"
    assert "name its class under [encodings.colours]" in encoding.remedy


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ({"ids": {"256": "soil"}}, "a whole number from 0 to 255"),
        ({"stored": "colours"}, "colours: expected"),
        ({}, "either a table of ids, or train_ids"),
        ({"ids": FIVE, "divisor": 256}, 'divisor: expected only where stored = "grey16"'),
        ({"train_ids": True}, "expected classes, the class set"),
        ({"ids": FIVE | {"0": "ignored", "9": "ignored"}}, r"`ignored = \[0, 9\]`"),
        (
            {"stored": "colours", "colours": {"a": [[1, 1, 1]], "ignored": [[0, 0, 0]]}},
            r"`ignored_colours = \[\[0, 0, 0\]\]`",
        ),
        (
            {"stored": "colours", "colours": {"a": [[1, 1, 1]], "b": [[1, 1, 1]]}},
            "stands for two classes",
        ),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(encoding, said):
    with pytest.raises(ValueError, match=said):
        described(**encoding)


@pytest.fixture
def large_ids(tmp_path, monkeypatch):
    """A set whose ids, 1000 and 2000, are cut to 255 where a label has 8 bits."""
    label = np.array([[0, 1000], [2000, 65535]], np.uint16).repeat(4, 0).repeat(4, 1)
    for i in range(5):
        for folder, pixels in (("images", np.full((8, 8, 3), 9, np.uint8)), ("labels", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{i}.png"), pixels)

    def use(**encoding) -> None:
        data_set = described(stored="grey16", ids=FIVE, ignored=[0, 65, 255], **encoding)
        data_set = data_set.model_copy(update={"folder": str(tmp_path)})
        monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {"mine": data_set})

    return use


def test_ids_above_255_are_refused_wherever_labels_are_read(tmp_path, large_ids):
    """Cut to 255, classes 1000 and 2000 were ignored, and nothing said so."""
    large_ids()
    dataset = open_dataset("mine", tmp_path, "train")
    for read in (
        lambda: describe("other", tmp_path / "images", tmp_path / "labels", tmp_path),
        lambda: dataset.read_label(0),
        lambda: quick_check(dataset),
    ):
        with pytest.raises(DataError, match=r"values 1000, 2000.*expected ids from 0.*`divisor"):
            read()
    found = [problem.found for problem in verify("mine", tmp_path)]
    assert found == ["values 1000, 2000 (5 files, the first is 0.png)"]
    large_ids(divisor=1000)
    assert verify("mine", tmp_path) == []


def test_a_red_channel_above_255_is_refused(tmp_path):
    label = tmp_path / "a.png"
    cv2.imwrite(str(label), np.array([[[0, 0, 3], [0, 0, 1000]]], np.uint16))
    with pytest.raises(DataError, match="values 1000; expected ids from 0 to 254"):
        labels_of(described(stored="red16", ids=FIVE)).encodings[0].read(label)


@pytest.mark.parametrize("divisor", [1, 1000])
def test_16_bit_grey_labels_are_read_over_their_divisor(tmp_path, divisor):
    data_set = described(stored="grey16", divisor=divisor, ids=FIVE, ignored=[0])
    values = [0, divisor, 2 * divisor + divisor - 1, 3 * divisor, min(254 * divisor, 65535), 65535]
    label = tmp_path / "a.png"
    cv2.imwrite(str(label), np.array([values], np.uint16))
    encoding = labels_of(data_set).encoding_of(label)
    ids = encoding.read(label)
    assert encoding.table[ids][0].tolist() == [255, 0, 1, 2, 255, 255]
    assert encoding.unknown(ids) == sorted({min(v // divisor, 255) for v in values[-2:]})
    cv2.imwrite(str(label), np.zeros((1, 2), np.uint8))
    with pytest.raises(DataError, match="mode L; expected a 16-bit grey PNG"):
        encoding.read(label)
