"""The 19 classes, their colours, each data set's label ids, and the subsets that are scored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

IGNORE = 255

#: Cityscapes' evaluation classes in the order of their train ids.
CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip

#: Cityscapes' colours, RGB, by train id.
PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip

#: Cityscapes label id -> train id; GTA5 uses the same ids.
CITYSCAPES_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12,
    26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip

#: SYNTHIA-RAND-CITYSCAPES id -> train id.
SYNTHIA_IDS = {
    3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9, 1: 10, 10: 11, 17: 12, 8: 13,
    18: 14, 19: 15, 20: 16, 12: 17, 11: 18,
}  # fmt: skip

#: CamVid id in the SegNet form -> the train id that stands for its group.
CAMVID_IDS = {0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 18}

#: The 11 groups that CamVid can score, as train ids.
CAMVID_GROUPS: dict[str, tuple[int, ...]] = {
    "road": (0,),
    "sidewalk": (1,),
    "building": (2, 3),
    "fence": (4,),
    "pole": (5,),
    "sign or signal": (6, 7),
    "vegetation": (8, 9),
    "sky": (10,),
    "pedestrian": (11,),
    "car": (13, 14, 15, 16),
    "bicyclist": (12, 17, 18),
}

#: SYNTHIA has no terrain, truck, train; the 13-class figure drops wall, fence, pole too.
SYNTHIA_16 = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)
SYNTHIA_13 = (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)


def lookup_table(ids: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Return the (256,) table that maps a label id to its train id, 255 where it has none."""
    table = np.full(256, IGNORE, np.uint8)
    for label_id, train_id in ids.items():
        table[label_id] = train_id
    return table


def colourise(label: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Paint train ids (H, W) in Cityscapes' colours -> (H, W, 3); ignored pixels are black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(PALETTE)] = PALETTE
    return colours[label]
