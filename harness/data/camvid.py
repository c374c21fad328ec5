"""CamVid (Brostow et al., 2009) in both of its forms: where the files lie, and their 32 colours.

The SegNet form has one folder a split, with grey labels of 12 ids. The authors' form has 701 frames
and colour-coded labels; without train.txt, val.txt and test.txt beside them they are split as
SegNet did: 367 frames to train on, 101 to validate on, and 233 (Seq05VD and the second half of
0001TP) to test on.

Of its four clips one was filmed at dusk. SegNet's splits part that clip in time, so that day and
dusk are domains of their own: 577 frames by day, 62 at dusk to adapt on, the later 62 to score.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from harness.data import forms, walk
from harness.errors import DataError
from harness.files import read_text

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

#: The clip filmed at dusk; 0006R0, 0016E5 and Seq05VD were filmed by day.
DUSK_CLIP = "0001TP"


class TimeOfDay(NamedTuple):
    """Frames of one time of day, out of SegNet's splits."""

    splits: tuple[str, ...]
    dusk: bool


SELECTIONS = {
    "day": TimeOfDay(("train", "val", "test"), dusk=False),
    "dusk_train": TimeOfDay(("train",), dusk=True),
    "dusk_test": TimeOfDay(("test",), dusk=True),
}


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
    """List (image, label) of a split or selection, sorted by name; the label need not exist."""
    if split in SELECTIONS:
        splits, dusk = SELECTIONS[split]
        pairs = (pair for part in splits for pair in list_pairs(folder, part))
        selected = [pair for pair in pairs if pair[0].stem.startswith(DUSK_CLIP) == dusk]
        return sorted(selected, key=lambda pair: pair[0].name)
    if any((folder / f"{split}{ending}").is_dir() for ending in ("", *SPLIT_LABELS)):
        return forms.list_pairs((_SPLIT_FORM,), folder, split)
    for image_folder, label_folder in WHOLE_FORMS:
        if (folder / image_folder).is_dir():
            images = forms.images_in(folder / image_folder)
            labels = forms.LabelFiles([folder / label_folder])
            lists = {part: _listed(folder / f"{part}.txt") for part in SPLITS}
            _note_lists(folder, images, lists)
            return [
                (
                    image,
                    labels.of(image.relative_to(folder / image_folder).with_suffix(""), _LABELS),
                )
                for image in images
                if _split_here(image.stem, lists) == split
            ]
    return []


def _split_here(frame: str, lists: dict[str, set[str] | None]) -> str | None:
    """The split whose list names the frame; else SegNet's, if that one has no list here."""
    for split, frames in lists.items():
        if frames and frame in frames:
            return split
    split = split_of(frame)
    return split if lists[split] is None else None


def _note_lists(folder: Path, images: list[Path], lists: dict[str, set[str] | None]) -> None:
    """Note where the lists of frames and the folder of images disagree."""
    there = {image.stem for image in images}
    listed: set[str] = set()
    for split, frames in lists.items():
        absent = (folder / frame for frame in sorted((frames or set()) - there))
        walk.leave_out(f"named in {split}.txt but not there", *absent)
        listed |= frames or set()
    names = [f"{split}.txt" for split, frames in lists.items() if frames is not None]
    if names:
        in_none = (im for im in images if im.stem not in listed and not _split_here(im.stem, lists))
        walk.leave_out(f"not named in {' or '.join(names)}", *in_none)


def _listed(file: Path) -> set[str] | None:
    """Read a split's frames, one a line (a name or a path; more words are left out)."""
    if not file.is_file():
        return None
    try:
        lines = read_text(file).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} {error}.") from error
    entries = [line.split()[0] for line in lines if line.strip("\ufeff\t ")]
    return {PureWindowsPath(entry).stem for entry in entries}  # which takes / and \\ as separators
