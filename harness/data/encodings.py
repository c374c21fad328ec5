"""How a data set's labels are stored in PNG files, and which class of a class set each value is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from harness.config import catalogue
from harness.config.class_set import IGNORED, ClassSet
from harness.config.data_set import DataSet, LabelEncoding
from harness.data import images, png
from harness.data.classes import IGNORE, lookup_table
from harness.errors import DataError

Ids = npt.NDArray[np.uint8]

#: A scenario's name for all classes of a data set that it does not name.
ALL_OTHERS = "*"


@dataclass(frozen=True)
class Encoding:
    """One way to store a label. `read` gives ids (H, W), `table` maps them to train ids."""

    title: str
    bits: int
    colours: tuple[int, ...]  # colour types of the PNG that may hold it
    known: frozenset[int]
    read: Callable[[Path], Ids]
    table: npt.NDArray[np.uint8] = field(repr=False)
    remedy: str
    files: tuple[str, ...] = ()
    seldom_ignored: bool = False

    def holds(self, header: png.PngHeader | None) -> bool:
        """Whether a PNG file of that header can be a label stored so."""
        if header is None or header.colour not in self.colours:
            return False
        # A palette of few colours needs fewer bits than 8.
        return header.bits == self.bits or (header.colour == png.PALETTE and header.bits < 8)

    def unknown(self, ids: Ids) -> list[int]:
        """The values in a label (H, W) that are no id of this encoding."""
        histogram = cv2.calcHist([ids], [0], None, [256], [0, 256]).ravel()
        return [i for i in np.flatnonzero(histogram).tolist() if i not in self.known]

    def strange(self, label: Path, ids: Ids) -> str:
        """What a label (H, W) holds that this encoding does not know, in a clause; or nothing."""
        unknown = self.unknown(ids)
        if not unknown or self.colours is not _COLOURS:
            return f"unknown label ids {', '.join(map(str, unknown[:5]))}" if unknown else ""
        rgb = np.asarray(images.load(label).convert("RGB"))
        colours = np.unique(rgb[np.isin(ids, unknown)], axis=0)[:5].tolist()
        return f"unknown colours {', '.join(map(str, colours))}"


@dataclass(frozen=True)
class Labels:
    """How the labels of a data set are read as train ids of a class set."""

    encodings: tuple[Encoding, ...]
    classes: ClassSet

    def encoding_of(self, label: Path) -> Encoding:
        """The encoding of one file: by its name, else by colours and bits, else the first.

        IndexError for a data set without labels.
        """
        for encoding in self.encodings:
            if any(fnmatchcase(label.name, pattern) for pattern in encoding.files):
                return encoding
        first = self.encodings[0]
        if len({(encoding.bits, encoding.colours) for encoding in self.encodings}) == 1:
            return first
        header = images.read_label_header(label)
        return next((encoding for encoding in self.encodings if encoding.holds(header)), first)

    @property
    def tables(self) -> bytes:
        """The tables from label ids to train ids of all encodings."""
        return b"".join(encoding.table.tobytes() for encoding in self.encodings)


def labels_of(
    data_set: DataSet, classes: ClassSet | None = None, becomes: Mapping[str, str] | None = None
) -> Labels:
    """How labels are read: as a class set's train ids, else as those of the data set's own classes.

    `becomes` names, of a class of the data set, the class that it becomes, or "ignored"; "*" stands
    for all that are not named. DataError for one that is none of the class set's and is not named.
    """
    if not data_set.has_labels:
        return Labels((), classes or catalogue.class_set(catalogue.DEFAULT_CLASSES))
    own = own_classes(data_set)
    train_ids = _train_ids(data_set, own, classes or own, becomes or {})
    encodings = tuple(_encoding(e, own, train_ids) for e in data_set.encodings)
    return Labels(encodings, classes or own)


def own_classes(data_set: DataSet) -> ClassSet:
    """The class set that a data set names, else its own classes as one."""
    if data_set.classes:
        return catalogue.class_set(data_set.classes)
    names = data_set.class_names()
    if len(names) < 2:
        raise DataError(
            f"{data_set.name} has {len(names)} classes; expected two at least: name the class of "
            "every id in its file."
        )
    return ClassSet.model_validate({"name": data_set.name, "names": names})


def _train_ids(
    data_set: DataSet, own: ClassSet, classes: ClassSet, becomes: Mapping[str, str]
) -> dict[str, int]:
    """The train id that each class of a data set becomes, 255 for ignored ones."""
    number = {name: i for i, name in enumerate(classes.names)} | {IGNORED: IGNORE}
    names = own.names
    strange = [name for name in becomes if name not in names and name != ALL_OTHERS]
    targets = [target for target in becomes.values() if target not in number]
    if strange or targets:
        unknown, known = (strange, names) if strange else (targets, [*classes.names, IGNORED])
        raise DataError(
            f"{data_set.name} has no class {unknown[0]!r}; expected one of {', '.join(known)}."
            if strange
            else f"a class of {data_set.name} becomes {unknown[0]!r}; expected one of "
            f"{', '.join(known)}."
        )
    train_ids: dict[str, int] = {}
    missing = []
    for name in names:
        target = becomes.get(name, name if name in number else becomes.get(ALL_OTHERS, ""))
        if target not in number:
            missing.append(name)
            continue
        train_ids[name] = number[target]
    if missing:
        raise DataError(
            f"{data_set.name} has classes that {classes.name} has not: {', '.join(missing)}; "
            "expected the scenario to say what each becomes, such as "
            f'"{missing[0]}" = "{classes.names[0]}" or "ignored" under [source_classes], '
            f'[target_classes] or [scored_classes]; "{ALL_OTHERS}" stands for all others.'
        )
    return train_ids


def _encoding(described: LabelEncoding, own: ClassSet, train_ids: Mapping[str, int]) -> Encoding:
    ignored, remedy = described.ignored_ids(), described.remedy
    read: Callable[[Path], Ids]
    colour_types: tuple[int, ...]
    if described.stored == "colours":
        code = _ColourCode(described)
        ids = {
            i: train_ids[name]
            for name, colours in described.colours.items()
            for i in code.of(colours)
        }
        ignored |= set(code.of(described.ignored_colours))
        read = partial(_read_colours, code=code)
        title, bits, colour_types = "8-bit RGB PNG of class colours", 8, _COLOURS
        if "remedy" not in described.model_fields_set:
            remedy = "name its class under [encodings.colours], or put it in ignored_colours"
    else:
        if described.train_ids:
            ids = {i: train_ids[name] for i, name in enumerate(own.names)}
        else:
            ids = {int(i): train_ids[name] for i, name in described.ids.items()}
        if described.stored == "red16":
            read, title, bits, colour_types = _read_red16, _RED16, 16, (png.RGB, png.RGBA)
        elif described.stored == "grey16":
            read = partial(_read_grey16, divisor=described.divisor)
            title, bits, colour_types = _GREY16, 16, (png.GREY,)
        else:
            read, title, bits, colour_types = read_grey, _GREY_TITLE, 8, _GREY
    return Encoding(
        described.title or title,
        bits,
        colour_types,
        frozenset(ids) | ignored,
        read,
        lookup_table(ids),
        remedy,
        described.files,
        described.seldom_ignored,
    )


_GREY, _COLOURS = (png.GREY, png.PALETTE), (png.RGB, png.RGBA, png.PALETTE)
_RED16, _GREY_TITLE = "16-bit RGB PNG with the class id in red", "8-bit grey or palette PNG of ids"
_GREY16 = "16-bit grey PNG of ids"


def read_grey(path: Path) -> Ids:
    """Read the stored bytes: of a palette PNG its indices, never its colours."""
    image = images.load(path)
    if image.mode not in ("P", "L"):
        raise DataError(f"{path}: a label of mode {image.mode}; expected a palette or grey PNG")
    return np.array(image)


def differing_palettes(labels: Sequence[Path]) -> str | None:
    """An index that is another colour in one palette file than in another, in a clause.

    Such files were made of colours one by one: their indices are no ids.
    """
    palettes = {label: p for label in labels if (p := images.read_palette(label)) is not None}
    if len(set(palettes.values())) < 2:
        return None
    seen: dict[int, tuple[bytes, Path]] = {}
    for label, palette in palettes.items():
        for index in np.unique(read_grey(label)).tolist():
            colour = palette[3 * index : 3 * index + 3]
            first, there = seen.setdefault(index, (colour, label))
            if first != colour:
                return (
                    f"index {index} is the colour {first.hex()} in {there.name} and "
                    f"{colour.hex()} in {label.name}"
                )
    return None


ONE_PALETTE = "one palette in all labels"
READ_AS_COLOURS = (
    'describe them by `stored = "colours"` with the colours of each class under '
    "[encodings.colours], or store them anew with one palette"
)


def _read_red16(path: Path) -> Ids:
    """Read the red channel of a 16-bit PNG, which PIL would cut to its upper 8 bits."""
    bgr = None if images.not_a_file(path) else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.dtype != np.uint16 or bgr.ndim != 3:
        raise DataError(f"{path}: expected a 16-bit PNG of 3 channels, with the class id in red")
    return _narrowed(path, np.asarray(bgr[..., 2], np.uint16), 1, "write labels with such ids")


def _read_grey16(path: Path, divisor: int) -> Ids:
    """Read a 16-bit grey PNG: its values over the divisor."""
    image = images.load(path)
    if not image.mode.startswith("I"):
        raise DataError(f"{path}: a label of mode {image.mode}; expected a 16-bit grey PNG")
    remedy = (
        "where the ids are these values over a number, describe them with it, as `divisor = 1000` "
        "under [[encodings]]; else write labels with such ids"
    )
    return _narrowed(path, np.asarray(image), divisor, remedy)


def _narrowed(path: Path, values: npt.NDArray[np.integer], divisor: int, remedy: str) -> Ids:
    """Values (H, W) over the divisor, 65535 as 255. DataError for ids that are larger."""
    ids = values // divisor
    if ids.max() > 255 and (large := np.unique(values[(ids > 255) & (values != 65535)])).size:
        shown = ", ".join(map(str, large[:5])) + (", ..." if large.size > 5 else "")
        over = f" over the divisor {divisor}" if divisor > 1 else ""
        raise DataError(
            f"{path}: values {shown}{over}; expected ids from 0 to 254, and 255 or 65535 where "
            f"there is no class: {remedy}."
        )
    return np.minimum(ids, 255).astype(np.uint8)


def read_ids(path: Path) -> Ids:
    """The ids of a label without colours, of 8 or 16 bits."""
    header = images.read_label_header(path)
    if header is None or header.bits < 16:
        return read_grey(path)
    return _read_grey16(path, 1) if header.colour == png.GREY else _read_red16(path)


def _read_colours(path: Path, code: _ColourCode) -> Ids:
    return code.encode(np.asarray(images.load(path).convert("RGB")))


class _ColourCode:
    """An id below 255 for each of an encoding's colours, 255 for any other.

    Colours on a grid of 0, 64, 128, 192, as CamVid's are, have two bits a channel; others are
    numbered in their order.
    """

    def __init__(self, described: LabelEncoding) -> None:
        named = [colour for colours in described.colours.values() for colour in colours]
        self.colours = [*named, *described.ignored_colours]
        self.on_grid = all(level & 63 == 0 for colour in self.colours for level in colour)
        packed = np.array([_packed(np.array(colour)) for colour in self.colours])
        self._order = np.argsort(packed)
        self._sorted = packed[self._order]

    def of(self, colours: tuple[tuple[int, int, int], ...]) -> list[int]:
        """The ids of some of the colours."""
        return self.encode(np.array(colours, np.uint8).reshape(-1, 1, 3)).ravel().tolist()

    def encode(self, rgb: npt.NDArray[np.uint8]) -> Ids:
        """Colours (H, W, 3) -> ids (H, W)."""
        if self.on_grid:
            r, g, b = (rgb[..., channel] >> 6 for channel in range(3))
            code = np.asarray((r << 4) | (g << 2) | b, np.uint8)
            code[(rgb & 63).any(axis=-1)] = 255
            return code
        packed = _packed(rgb)
        place = np.minimum(np.searchsorted(self._sorted, packed), len(self._sorted) - 1)
        is_known = self._sorted[place] == packed
        return np.where(is_known, self._order[place], 255).astype(np.uint8)


def _packed(rgb: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    r, g, b = (rgb[..., channel].astype(np.int64) for channel in range(3))
    return (r << 16) | (g << 8) | b
