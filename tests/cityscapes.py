"""Facts of the data sets' authors, as tests know them: what the shipped files must say."""

from __future__ import annotations

from functools import partial

from harness.config import catalogue
from harness.data import classes

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

#: Colours of the 32 classes, gathered in the groups that SegNet's labels have, by their id there.
#: Void (0, 0, 0) is in no group.
GROUP_COLOURS: dict[int, dict[str, tuple[int, int, int]]] = {
    0: {"Sky": (128, 128, 128)},
    1: {
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    2: {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    3: {
        "LaneMkgsDriv": (128, 0, 192),
        "LaneMkgsNonDriv": (192, 0, 64),
        "Road": (128, 64, 128),
    },
    4: {
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
        "Sidewalk": (0, 0, 192),
    },
    5: {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    6: {
        "Misc_Text": (128, 128, 64),
        "SignSymbol": (192, 128, 128),
        "TrafficLight": (0, 64, 64),
    },
    7: {"Fence": (64, 64, 128)},
    8: {
        "Car": (64, 0, 128),
        "OtherMoving": (128, 64, 64),
        "SUVPickupTruck": (64, 128, 192),
        "Train": (192, 64, 128),
        "Truck_Bus": (192, 128, 192),
    },
    9: {
        "Animal": (64, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Child": (192, 128, 64),
        "Pedestrian": (64, 64, 0),
    },
    10: {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}

CITYSCAPES = catalogue.class_set("cityscapes19")
colourise = partial(classes.colourise, palette=PALETTE)
