"""Training samples a second and core at the paper's shapes, with a store and without.

A sample is a pair: a GTA5 image (1914 x 1052) with its label and a Cityscapes image (2048 x 1024),
resized, cropped to 512 x 512 and mirrored at random. The images are generated scenes, enlarged,
with the noise of a sensor; UDA_BENCH_PHOTOS names a folder of photographs to use instead.
`pillow` is what code without a store does: decode and resize with Pillow, then crop and mirror.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from harness.config import catalogue
from harness.data.datasets import Dataset, open_dataset
from harness.data.encodings import labels_of
from harness.data.layouts import layout_of
from harness.data.loader import _TrainViews
from harness.data.scenes import draw_scene
from harness.data.store import Store
from harness.data.store_build import build

PROFILE = catalogue.profile("paper").model_copy(update={"workers": 0})
SIZES = {"gta5": (1914, 1052), "cityscapes": (2048, 1024)}
IMAGES = 6
ROUNDS = 9


@pytest.fixture(scope="module", autouse=True)
def one_core():
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The two sets, and both stores of them in a cache of their own."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UDA_BENCH_CACHE", str(root / "cache"))
        for name in SIZES:
            for i in range(IMAGES):
                _write(root, name, i)
        source, target = (open_dataset(name, root, "train") for name in SIZES)
        for format_ in ("raw", "compressed"):
            build(Store(source, PROFILE.image_size["gta5"], format_), ("image", "label"))
            build(Store(target, PROFILE.image_size["cityscapes"], format_), ("image",))
        yield source, target


def _write(root: Path, name: str, index: int) -> None:
    scene = draw_scene(name, "train", index)
    image = scene.image
    if photos := os.environ.get("UDA_BENCH_PHOTOS"):
        files = sorted(Path(photos).glob("*.png"))
        image = np.asarray(Image.open(files[index * 31 % len(files)]).convert("RGB"))
    rng = np.random.default_rng(index)
    image = cv2.resize(image, SIZES[name], interpolation=cv2.INTER_CUBIC)
    image = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    table = np.zeros(256, np.uint8)
    for train_id, label_id in enumerate(catalogue.class_set("cityscapes19").label_ids.values()):
        table[train_id] = label_id
    label = cv2.resize(scene.label, SIZES[name], interpolation=cv2.INTER_NEAREST)
    city, stem = "aachen", f"aachen_{index:06d}_000019"
    files = {
        "gta5": (f"images/{index:05d}.png", f"labels/{index:05d}.png"),
        "cityscapes": (
            f"leftImg8bit/train/{city}/{stem}_leftImg8bit.png",
            f"gtFine/train/{city}/{stem}_gtFine_labelIds.png",
        ),
    }[name]
    for file, pixels in zip(files, (image, table[label]), strict=True):
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


class Pillow:
    """Pairs as the usual code makes them: no redraws, which the loader's own samples include."""

    def __init__(self, source: Dataset, target: Dataset) -> None:
        self.source, self.target = source, target

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(number)
        sample = self.source.samples[number % IMAGES]
        image = Image.open(sample.image).convert("RGB")
        image = image.resize((1280, 704), Image.Resampling.BILINEAR)
        label = Image.open(sample.label).resize((1280, 704), Image.Resampling.NEAREST)
        ids = labels_of(layout_of("gta5")).encodings[0].table[np.asarray(label)]
        target = Image.open(self.target.samples[number % IMAGES].image).convert("RGB")
        target = target.resize((1024, 512), Image.Resampling.BILINEAR)
        image, ids = self._cut(rng, np.asarray(image), ids)
        (target,) = self._cut(rng, np.asarray(target))
        return image.transpose(2, 0, 1).copy(), ids, target.transpose(2, 0, 1).copy()

    def _cut(self, rng: np.random.Generator, *arrays: np.ndarray) -> list[np.ndarray]:
        height, width = arrays[0].shape[:2]
        top, left = rng.integers(height - 512 + 1), rng.integers(width - 512 + 1)
        step = -1 if rng.random() < 0.5 else 1
        return [a[top : top + 512, left : left + 512][:, ::step].copy() for a in arrays]


def _readers(data) -> dict[str, object]:
    readers: dict[str, object] = {"pillow": Pillow(*data)}
    for setting in ("off", "compressed", "raw"):
        profile = PROFILE.model_copy(update={"data_store": setting})
        readers[setting] = _TrainViews(*data, profile, seed=0, target_labels=False)
    return readers


@pytest.mark.parametrize("reader", ["pillow", "off", "compressed", "raw"])
def test_sample(benchmark, data, reader):
    """One pair, of another image each round."""
    views = _readers(data)[reader]
    numbers = iter(range(10**6))
    benchmark.pedantic(lambda: views[next(numbers)], rounds=4 * ROUNDS, warmup_rounds=2)


def test_a_store_is_worth_its_disk(data):
    """Interleaved medians: the store of raw pixels reads ten times as many samples as Pillow."""
    readers = _readers(data)
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(2 * ROUNDS):
        for name, views in readers.items():
            start = time.process_time()
            views[number]
            seconds[name].append(time.process_time() - start)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    for name, median in medians.items():
        ratio = medians["pillow"] / median
        print(f"{name}: {1 / median:.1f} samples a second and core, {ratio:.2f} of Pillow's")
    assert medians["pillow"] / medians["raw"] >= 10
