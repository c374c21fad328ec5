"""How each data set stores its labels in a PNG file, and what its ids mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from harness.data import classes, images, png
from harness.data.camvid import GROUP_COLOURS
from harness.errors import DataError

Ids = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Encoding:
    """One way to store a label. `read` gives ids (H, W), `table` maps them to train ids."""

    title: str
    bits: int
    colours: tuple[int, ...]  # colour types of the PNG that may hold it
    known: frozenset[int]
    read: Callable[[Path], Ids]
    table: npt.NDArray[np.uint8] = field(repr=False)
    remedy: str = "take the label from the original archive again"

    def unknown(self, ids: Ids) -> list[int]:
        """The values in a label (H, W) that are no id of this encoding."""
        histogram = cv2.calcHist([ids], [0], None, [256], [0, 256]).ravel()
        return [i for i in np.flatnonzero(histogram).tolist() if i not in self.known]


def encoding_of(dataset: str, label: Path) -> Encoding:
    """Return the encoding of one label file of a data set."""
    if dataset in _TRAIN_IDS and label.stem.endswith("_labelTrainIds"):
        return _TRAIN_IDS[dataset]
    if dataset == "camvid" and (label.stem.endswith("_L") or _is_colour(label)):
        return CAMVID_COLOURS
    return _ENCODINGS[dataset]


def id_tables(dataset: str) -> bytes:
    """The tables from label ids to train ids of all encodings that a data set's labels may have."""
    encodings = [_ENCODINGS[dataset]]
    if dataset in _TRAIN_IDS:
        encodings.append(_TRAIN_IDS[dataset])
    if dataset == "camvid":
        encodings.append(CAMVID_COLOURS)
    return b"".join(encoding.table.tobytes() for encoding in encodings)


def _is_colour(label: Path) -> bool:
    header = png.read_header(label)
    return header is not None and header.colour in (png.RGB, png.RGBA)


def _read_grey(path: Path) -> Ids:
    """Read the stored bytes: of a palette PNG its indices, never its colours."""
    image = images.load(path)
    if image.mode not in ("P", "L"):
        raise DataError(f"{path}: a label of mode {image.mode}; expected a palette or grey PNG")
    return np.array(image)


def _read_red16(path: Path) -> Ids:
    """Read the red channel of a 16-bit PNG, which PIL would cut to its upper 8 bits."""
    bgr = None if images.not_a_file(path) else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.dtype != np.uint16 or bgr.ndim != 3:
        raise DataError(f"{path}: expected a 16-bit PNG of 3 channels, with the class id in red")
    red = bgr[..., 2]
    return np.minimum(red, 255).astype(np.uint8)


def _read_colours(path: Path) -> Ids:
    """Read CamVid's colours as 6-bit codes; 255 for a colour off its grid of 0, 64, 128, 192."""
    rgb = np.asarray(images.load(path).convert("RGB"))
    code = _colour_code(rgb[..., 0], rgb[..., 1], rgb[..., 2])
    code[(rgb & 63).any(axis=-1)] = 255
    return code


def _colour_code(red: npt.ArrayLike, green: npt.ArrayLike, blue: npt.ArrayLike) -> Ids:
    r, g, b = (np.asarray(channel, np.uint8) >> 6 for channel in (red, green, blue))
    return np.asarray((r << 4) | (g << 2) | b, np.uint8)


def _ids(*ids: Iterable[int]) -> frozenset[int]:
    return frozenset(i for part in ids for i in part)


_GREY = (png.GREY, png.PALETTE)
_CAMVID_CODES = {
    int(_colour_code(*colour)): classes.CAMVID_IDS[group]
    for group, colours in GROUP_COLOURS.items()
    for colour in colours.values()
}

GTA5 = Encoding(
    "8-bit palette PNG of Cityscapes label ids",
    8,
    _GREY,
    _ids(range(35)),
    _read_grey,
    classes.lookup_table(classes.CITYSCAPES_IDS),
    "take the label from the original archive again: ids are mapped on the fly, "
    "converted labels are not needed",
)
SYNTHIA = Encoding(
    "16-bit RGB PNG with the class id in red",
    16,
    (png.RGB, png.RGBA),
    _ids(range(23)),
    _read_red16,
    classes.lookup_table(classes.SYNTHIA_IDS),
    "take the label from GT/LABELS of SYNTHIA-RAND-CITYSCAPES again; do not re-save it, most "
    "tools write 8 bits",
)
CITYSCAPES = Encoding(
    "8-bit grey PNG of label ids",
    8,
    _GREY,
    _ids(range(34), (255,)),
    _read_grey,
    classes.lookup_table(classes.CITYSCAPES_IDS),
    "take the *_gtFine_labelIds.png from gtFine_trainvaltest.zip again",
)
TRAIN_IDS = Encoding(
    "8-bit grey PNG of train ids",
    8,
    _GREY,
    _ids(range(19), (255,)),
    _read_grey,
    classes.lookup_table({i: i for i in range(19)}),
    "write it again with cityscapesScripts, or keep only the *_labelIds.png",
)
CAMVID = Encoding(
    "8-bit grey PNG of the SegNet form's ids 0..11",
    8,
    _GREY,
    _ids(range(12)),
    _read_grey,
    classes.lookup_table(classes.CAMVID_IDS),
    "take the label from the SegNet tutorial's CamVid folder again",
)
CAMVID_COLOURS = Encoding(
    "8-bit RGB PNG of the 32 class colours",
    8,
    (png.RGB, png.RGBA, png.PALETTE),
    _ids(_CAMVID_CODES, (0,)),
    _read_colours,
    classes.lookup_table(_CAMVID_CODES),
    "take the label from LabeledApproved_full again; it must not be resized or stored as JPEG",
)
# ACDC and Dark Zurich publish both kinds of label: nothing is to be written again.
_PUBLISHED = Encoding.remedy
ADVERSE = replace(CITYSCAPES, remedy=_PUBLISHED)
ADVERSE_TRAIN_IDS = replace(TRAIN_IDS, remedy=_PUBLISHED)
_ENCODINGS = {
    "gta5": GTA5,
    "synthia": SYNTHIA,
    "cityscapes": CITYSCAPES,
    "camvid": CAMVID,
    "acdc": ADVERSE,
    "darkzurich": ADVERSE,
}
_TRAIN_IDS = {
    "cityscapes": TRAIN_IDS,
    "acdc": ADVERSE_TRAIN_IDS,
    "darkzurich": ADVERSE_TRAIN_IDS,
}
