"""Decoded, resized pixels of a split, kept in the cache: most of a sample's time is PNG decoding.

One folder for a split at one size in one format, one file for an image and one for a label. A
file's name is a hash of its source's name, size and times: what is built is what is there, a
source that changes is built again alone, and a build that was cut short goes on. What a store
lacks is read from the data set itself, so that half a store, or a damaged one, changes no pixel.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from harness.config.schema import DataStore
from harness.data.cache import cache_dir, mark_used
from harness.data.datasets import Dataset
from harness.data.fingerprint import FileState, file_states
from harness.data.transforms import PixelArray
from harness.files import read_json, write_text, written_whole

Format = Literal["raw", "compressed"]
FileKind = Literal["image", "label"]

#: Raw files are mapped, so that a crop reads its own rows only. WebP is the smaller of the lossless
#: formats that OpenCV decodes, and the faster one for photographs. A label is read whole, to draw a
#: corner from: zlib makes it a fortieth in both formats and takes half a millisecond.
ENDINGS: dict[Format, dict[FileKind, str]] = {
    "raw": {"image": ".image.npy", "label": ".label.npy.z"},
    "compressed": {"image": ".image.webp", "label": ".label.npy.z"},
}
#: Raised when the same source and size give other pixels, or other files.
VERSION = 2
#: What a folder holds, for people and for `bench data cache`.
DESCRIPTION = "store.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """The files of one split at one size = (width, height), in one format."""

    dataset: Dataset
    size: tuple[int, int]
    format: Format

    @property
    def folder(self) -> Path:
        """Named by what decides the pixels beside the files: where they lie, id tables, OpenCV."""
        name, split, (width, height) = self.dataset.name, self.dataset.split, self.size
        decisive = (str(self.dataset.root.resolve()), self.dataset.labels.tables.hex(), VERSION)
        digest = _digest(repr((*decisive, cv2.__version__)))[:8]
        return stores_folder() / f"{name}-{split}-{width}x{height}-{self.format}-{digest}"

    def sources(self, part: FileKind) -> list[Path]:
        """The image or label file of every sample."""
        return [getattr(sample, part) for sample in self.dataset.samples]

    def names(self, part: FileKind) -> list[str | None]:
        """The file name of every sample; None where its source is not there. One `stat` each."""
        sources = self.sources(part)
        return [self.name(part, *pair) for pair in zip(sources, file_states(sources), strict=True)]

    def name(self, part: FileKind, source: Path, state: FileState | None) -> str | None:
        """The name of one file: another one when the source's name, size or times are others."""
        if state is None:
            return None
        relative = os.path.relpath(source, self.dataset.root)
        return _digest(repr((relative, *state))) + ENDINGS[self.format][part]

    def held(self) -> set[str]:
        """Names of the files that are there; empty without a store."""
        try:
            return {entry.name for entry in os.scandir(self.folder)}
        except OSError:
            return set()

    def pixels(self, part: FileKind, index: int) -> PixelArray:
        """What the data set itself reads: what a store must give back."""
        read = self.dataset.read_image if part == "image" else self.dataset.read_label
        return read(index, self.size)

    def write(self, part: FileKind, index: int, name: str) -> bool:
        """Write one file, whole or not at all; False where its source changes meanwhile."""
        content = encode(self.pixels(part, index), self.format)
        source = self.sources(part)[index]
        if self.name(part, source, file_states([source])[0]) != name:
            return False
        with written_whole(self.folder / name) as partial:
            partial.write_bytes(content)
        return True

    def describe(self) -> None:
        """Write what the folder is for."""
        text = {
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "size": self.size,
            "format": self.format,
            "root": str(self.dataset.root),
        }
        write_text(self.folder / DESCRIPTION, json.dumps(text, indent=1))


def stores_folder() -> Path:
    """Where all stores lie."""
    return cache_dir() / "store"


def encode(pixels: PixelArray, format_: Format) -> bytes:
    """A file's content: an image (H, W, 3) RGB or a label (H, W), uint8."""
    buffer = io.BytesIO()
    if pixels.ndim == 3 and format_ == "compressed":
        # A tenth larger than with more effort, and written several times as fast.
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    else:
        np.save(buffer, np.ascontiguousarray(pixels))
    return buffer.getvalue() if pixels.ndim == 3 else zlib.compress(buffer.getvalue(), 1)


def decode(path: Path) -> PixelArray:
    """Pixels of a file, read-only where they are mapped. OSError, ValueError, EOFError
    or zlib.error for a damaged one."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path, mmap_mode="r"))
    content = path.read_bytes()
    if path.suffix == ".z":
        pixels: PixelArray = np.load(io.BytesIO(zlib.decompress(content)))
        return pixels
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if bgr is None:
        raise ValueError(f"{path}: cannot be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


class StoredPixels:
    """Reads a split at one size: from a store where it holds a sample, else from the data set.

    Sources are looked at once, here: one that changes later is noticed by the next reader.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: tuple[int, int],
        setting: DataStore = "auto",
        parts: Sequence[FileKind] = get_args(FileKind),
    ) -> None:
        self.dataset, self.size = dataset, size
        #: Counts values that are no ids, as `Dataset.read_label` does; a store holds train ids.
        self.unknown: npt.NDArray[np.int64] | None = None
        self.files: dict[FileKind, dict[int, Path]] = {part: {} for part in parts}
        for format_ in _formats(setting):
            store = Store(dataset, size, format_)
            held = store.held()
            if not held:  # no `stat` of any source where there is no store
                continue
            mark_used(store.folder)
            for part, files in self.files.items():
                for index, name in enumerate(store.names(part)):
                    if name in held:
                        files.setdefault(index, store.folder / str(name))

    def read_image(self, index: int) -> PixelArray:
        """The image as RGB (H, W, 3), perhaps read-only: what `Dataset.read_image` gives."""
        pixels = self._stored("image", index)
        return self.dataset.read_image(index, self.size) if pixels is None else pixels

    def read_label(self, index: int) -> PixelArray:
        """The label as train ids (H, W), perhaps read-only: what `Dataset.read_label` gives."""
        pixels = self._stored("label", index)
        if pixels is not None:
            return pixels
        return self.dataset.read_label(index, self.size, self.unknown)

    def _stored(self, part: FileKind, index: int) -> PixelArray | None:
        path = self.files.get(part, {}).get(index)
        if path is None:
            return None
        try:
            return decode(path)
        except (OSError, ValueError, EOFError, zlib.error) as error:
            del self.files[part][index]
            log.warning("%s: %s; read from the data set instead", path, error)
            return None


def _formats(setting: DataStore) -> tuple[Format, ...]:
    if setting == "off":
        return ()
    return get_args(Format) if setting == "auto" else (setting,)


@dataclass(frozen=True)
class Held:
    """A store as it lies in the cache."""

    folder: Path
    description: dict[str, Any]
    images: int
    labels: int
    size_bytes: int


def stores() -> Iterator[Held]:
    """Every store in the cache, by name."""
    for file in sorted(stores_folder().glob(f"*/{DESCRIPTION}")):
        description: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            content = read_json(file)
            description = content if isinstance(content, dict) else {}
        files = [path for path in file.parent.iterdir() if path.is_file()]
        images, labels = (
            sum(f".{part}." in path.name for path in files) for part in get_args(FileKind)
        )
        size = sum(path.stat().st_size for path in files)
        yield Held(file.parent, description, images, labels, size)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
