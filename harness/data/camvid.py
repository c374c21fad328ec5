"""CamVid (Brostow et al., 2009) in both of its forms: where the files lie, and their 32 colours.

The SegNet form has one folder a split, with grey labels of 12 ids. The authors' form has 701 frames
and colour-coded labels; without train.txt and val.txt beside them they are split as SegNet did:
367 frames to train on, 101 to validate on, and 233 (Seq05VD and the second half of 0001TP) left
out, because they are SegNet's test set.
"""

from __future__ import annotations

from pathlib import Path

from harness.data import forms, walk

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

#: (images, labels) of a form that keeps all frames in one folder.
WHOLE_FORMS = (("701_StillsRaw_full", "LabeledApproved_full"), ("images", "labels"))

#: Names of a frame, less the suffix.
FRAMES = r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+"

SPLITS = ("train", "val", "test")
#: How the folder of a split's labels is named after the split's: by SegNet, and in a copy with the
#: authors' labels that goes round.
SPLIT_LABELS = ("annot", "_labels")

#: SegNet's validation frames, and the first of 0001TP that it tests on.
VAL_FRAMES = ("0016E5_07959", "0016E5_08159")
TEST_START = "0001TP_008550"


#: The authors' name FRAME_L.png; else the image's own name.
_LABELS = (".png", "_L.png")
_SPLIT_FORM = forms.Form(
    (("{split}", *(f"{{split}}{ending}" for ending in SPLIT_LABELS)),), labels=_LABELS
)


def split_of(frame: str) -> str:
    """Name SegNet's split of a frame of the authors' form: train, val or test."""
    if VAL_FRAMES[0] <= frame <= VAL_FRAMES[1]:
        return "val"
    if frame.startswith("Seq05VD") or (frame.startswith("0001TP") and frame >= TEST_START):
        return "test"
    return "train"


def list_pairs(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """List (image, label) of a split, sorted by name; the label need not exist."""
    if any((folder / f"{split}{ending}").is_dir() for ending in ("", *SPLIT_LABELS)):
        return forms.list_pairs((_SPLIT_FORM,), folder, split)
    for image_folder, label_folder in WHOLE_FORMS:
        if (folder / image_folder).is_dir():
            images = forms.images_in(folder / image_folder)
            labels = forms.LabelFiles([folder / label_folder])
            _note_lists(folder, images)
            wanted = _listed(folder / f"{split}.txt")
            return [
                (
                    image,
                    labels.of(image.relative_to(folder / image_folder).with_suffix(""), _LABELS),
                )
                for image in images
                if (split_of(image.stem) == split if wanted is None else image.stem in wanted)
            ]
    return []


def _note_lists(folder: Path, images: list[Path]) -> None:
    """Note where the lists of frames and the folder of images disagree."""
    names = {f"{split}.txt": _listed(folder / f"{split}.txt") for split in SPLITS}
    lists = {name: frames for name, frames in names.items() if frames is not None}
    there = {image.stem for image in images}
    for name, frames in lists.items():
        absent = (folder / frame for frame in sorted(frames - there))
        walk.leave_out(f"named in {name} but not there", *absent)
    if lists:
        listed = set().union(*lists.values())
        unlisted = (image for image in images if image.stem not in listed)
        walk.leave_out(f"not named in {' or '.join(lists)}", *unlisted)


def _listed(file: Path) -> set[str] | None:
    """Read a split's frames, one a line (a name or a path; more words are left out)."""
    if not file.is_file():
        return None
    return {Path(line.split()[0]).stem for line in file.read_text().splitlines() if line.strip()}
