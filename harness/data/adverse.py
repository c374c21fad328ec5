"""Where ACDC (Sakaridis et al., 2021) and Dark Zurich (Sakaridis et al., 2019) keep their files.

Both name an image FRAME_rgb_anon.png, below rgb_anon/, and its label FRAME_gt_labelTrainIds.png, in
the same folders below gt/. Their folders *_ref show the same places by day and in clear weather;
they belong to no split.
"""

from __future__ import annotations

from pathlib import Path

#: ACDC's, in the order of its folders.
CONDITIONS = ("fog", "night", "rain", "snow")

_IMAGE = "_rgb_anon.png"
#: Both are published; the first is what the benchmarks score on.
LABELS = ("_gt_labelTrainIds.png", "_gt_labelIds.png")


def list_acdc(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """List (image, label) of a split over all four conditions; the label need not exist."""
    pairs = []
    for condition in CONDITIONS:
        pairs += _pairs(folder, f"{condition}/{split}", "*/*")
    # DAFormer's instructions gather all frames of a split in one folder.
    return pairs or _pairs(folder, split, "*")


def list_dark_zurich(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """List (image, label) of a split's images by night; those to train on have no label."""
    return _pairs(folder, f"{split}/night", "*/*")


def _pairs(folder: Path, below: str, pattern: str) -> list[tuple[Path, Path]]:
    images = folder / "rgb_anon"
    return [
        (image, _label(folder / "gt" / image.parent.relative_to(images), image.name))
        for image in sorted((images / below).glob(pattern + _IMAGE))
    ]


def _label(folder: Path, image: str) -> Path:
    train_ids, ids = (folder / (image.removesuffix(_IMAGE) + ending) for ending in LABELS)
    return ids if ids.exists() and not train_ids.exists() else train_ids
