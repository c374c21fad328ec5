"""Writes tiny data sets exactly as the real ones lie on disk.

Every image tells where its pixels come from: red is the train id of its label, green the column
and blue the row.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from cityscapes import CAMVID_IDS, CITYSCAPES_IDS, GROUP_COLOURS, PALETTE, SYNTHIA_IDS, colourise
from PIL import Image

from harness.data.scenes.adverse import CONDITIONS

WIDTH, HEIGHT = 64, 48
SIZE = (WIDTH, HEIGHT)


def street(index: int, width: int = WIDTH, height: int = HEIGHT):
    """Return an image (H, W, 3) and its label (H, W) of train ids, both of that number's own.

    Sky, building, road, a car; a person in even images, a bicycle in image 3; 255 at the bottom.
    """
    label = np.full((height, width), 2, np.uint8)
    label[: height // 4] = 10
    label[height // 2 :] = 0
    left = 4 + 5 * index % (width - 24)
    label[height // 2 : height // 2 + 8, left : left + 16] = 13
    if index % 2 == 0:
        label[height // 4 : height // 2, left : left + 6] = 11
    if index == 3:
        label[height // 2 : height // 2 + 6, :4] = 18
    label[-4:] = 255
    rows, columns = np.indices(label.shape, np.uint8)
    return np.stack([label, columns, rows], axis=-1), label


def write_gta5(root: Path, n: int, size: tuple[int, int] = SIZE) -> Path:
    """images/00001.png, and labels/00001.png as palette PNGs of Cityscapes label ids."""
    folder = root / "gta5"
    palette = np.zeros((256, 3), np.uint8)
    for label_id, train_id in CITYSCAPES_IDS.items():
        palette[label_id] = PALETTE[train_id]
    for i in range(n):
        image, label = street(i, *size)
        save_png(folder / "images" / f"{i + 1:05d}.png", image)
        mask = Image.fromarray(encode(label, CITYSCAPES_IDS, ignored=4))
        mask.putpalette(palette.tobytes())
        path = folder / "labels" / f"{i + 1:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask.save(path)
    return folder


def write_synthia(root: Path, n: int, size: tuple[int, int] = SIZE) -> Path:
    """RGB/0000000.png, and GT/LABELS/0000000.png with 16 bits: class in red, instance in green."""
    folder = root / "synthia"
    for i in range(n):
        image, label = street(i, *size)
        save_png(folder / "RGB" / f"{i:07d}.png", image)
        mask = np.zeros((*label.shape, 3), np.uint16)
        mask[..., 2] = encode(label, SYNTHIA_IDS, ignored=0)  # OpenCV's order is blue, green, red
        mask[..., 1] = 300 + i
        path = folder / "GT" / "LABELS" / f"{i:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), mask)
    return folder


def write_cityscapes(
    root: Path, n_train: int, n_val: int, size: tuple[int, int] = SIZE, kind: str = "labelIds"
) -> Path:
    """leftImg8bit and gtFine, one city a split, two cities in train."""
    folder = root / "cityscapes"
    ids = CITYSCAPES_IDS if kind == "labelIds" else {i: i for i in range(19)}
    for split, n in (("train", n_train), ("val", n_val)):
        for i in range(n):
            city = "frankfurt" if split == "val" else ("aachen", "ulm")[i % 2]
            image, label = street(i, *size)
            stem = f"{city}_{i:06d}_000019"
            save_png(folder / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", image)
            mask = encode(label, ids, ignored=255 if kind == "labelTrainIds" else 3)
            save_png(folder / "gtFine" / split / city / f"{stem}_gtFine_{kind}.png", mask)
    return folder


def write_camvid(root: Path, n: int, size: tuple[int, int] = SIZE) -> Path:
    """The SegNet form: train/, trainannot/ and so on, ids 0..11 in grey; n images of each split.

    Those of train and test are of the clip at dusk, those of val were taken by day.
    """
    folder = root / "camvid"
    for split, first in (("train", "006690"), ("val", "07959"), ("test", "008550")):
        clip = "0016E5" if split == "val" else "0001TP"
        for i in range(n):
            image, label = street(i, *size)
            name = f"{clip}_{int(first) + 2 * i:0{len(first)}d}.png"
            save_png(folder / split / name, image)
            mask = encode(label, CAMVID_IDS, ignored=11)
            save_png(folder / f"{split}annot" / name, mask)
    return folder


def write_camvid_colours(
    root: Path, frames: list[str], folders: tuple[str, str], suffix: str = "_L"
) -> Path:
    """The authors' form: all frames in one folder, labels in the colours of the 32 classes."""
    folder = root / "camvid"
    colours = np.zeros((256, 3), np.uint8)
    for group, classes in GROUP_COLOURS.items():
        colours[CAMVID_IDS[group]] = next(iter(classes.values()))
    for i, frame in enumerate(frames):
        image, label = street(i)
        save_png(folder / folders[0] / f"{frame}.png", image)
        save_png(folder / folders[1] / f"{frame}{suffix}.png", colours[label])
    return folder


def write_acdc(
    root: Path, n: int, conditions: tuple[str, ...] = CONDITIONS, kind: str = "labelTrainIds"
) -> Path:
    """rgb_anon/ and gt/ by condition, split and sequence; n images of each condition and split.

    The test split and the pictures of the same places by day come along, as published. Streets
    count through train, then val, over all conditions.
    """
    folder = root / "acdc"
    for s, split in enumerate(("train", "val")):
        for c, condition in enumerate(conditions):
            for i in range(n):
                below = f"{condition}/{split}/GP0{c}047{i % 2}"
                _write_frame(folder, below, i, (s * len(conditions) + c) * n + i, kind)
            for other, ending in ((f"{split}_ref", "rgb_ref_anon"), ("test", "rgb_anon")):
                place = folder / "rgb_anon" / condition / other / "GP010475"
                save_png(place / f"GP010475_frame_000001_{ending}.png", street(0)[0])
    return folder


def write_darkzurich(root: Path, n_train: int, n_val: int) -> Path:
    """rgb_anon/train/night without labels, also by day; rgb_anon/val/night and gt/val/night."""
    folder = root / "dark_zurich"
    for i in range(n_train):
        for time in ("night", "day"):
            _write_frame(folder, f"train/{time}/GOPR035{i % 2}", i, i, None)
    for i in range(n_val):
        _write_frame(folder, "val/night/GOPR0356", i, i, "labelTrainIds")
        save_png(
            folder / f"rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_{i:06d}_ref_rgb_anon.png",
            street(i)[0],
        )
    return folder


#: A small set of each name in its real format, below a root.
WRITERS = {
    "gta5": lambda root: write_gta5(root, 3),
    "synthia": lambda root: write_synthia(root, 3),
    "cityscapes": lambda root: write_cityscapes(root, 3, 2),
    "camvid": lambda root: write_camvid(root, 3),
    "acdc": lambda root: write_acdc(root, 1),
    "darkzurich": lambda root: write_darkzurich(root, 2, 2),
}


def _write_frame(folder: Path, below: str, number: int, index: int, kind: str | None) -> None:
    """An image, and its label unless `kind` is None: ids or train ids in grey, and in colours."""
    image, label = street(index)
    frame = f"{Path(below).name}_frame_{number:06d}"
    save_png(folder / "rgb_anon" / below / f"{frame}_rgb_anon.png", image)
    if kind:
        ids = CITYSCAPES_IDS if kind == "labelIds" else {i: i for i in range(19)}
        mask = encode(label, ids, ignored=0 if kind == "labelIds" else 255)
        save_png(folder / "gt" / below / f"{frame}_gt_{kind}.png", mask)
        save_png(folder / "gt" / below / f"{frame}_gt_labelColor.png", colourise(label))


def encode(label: np.ndarray, ids: dict[int, int], ignored: int) -> np.ndarray:
    """Turn train ids back into a data set's own ids."""
    table = np.full(256, ignored, np.uint8)
    for label_id, train_id in ids.items():
        table[train_id] = label_id
    return table[label]


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) as a grey or (H, W, 3) as an RGB PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def cut_short(path: Path) -> None:
    """Leave half of a file, as a copy that was broken off does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def files_below(folder: Path) -> set[str]:
    """Return the names of all files, to see that none was added."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
