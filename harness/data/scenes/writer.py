"""Writes generated streets in the data sets' own formats, whole or not at all, and caches them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from harness.config import catalogue
from harness.data import png
from harness.data.cache import GENERATED, cache_dir, keep_bounded, mark_used
from harness.data.classes import IGNORE
from harness.data.encodings import labels_of
from harness.data.layouts import layout_of, list_pairs
from harness.data.scenes.adverse import CONDITIONS, condition
from harness.data.scenes.scene import GENERATOR_VERSION, SIZES, draw_scene
from harness.data.scenes.styles import GAP
from harness.errors import BenchError, DataError
from harness.files import (
    folder_written_whole,
    read_json,
    remove_abandoned,
    temporary_name,
    write_text,
)
from harness.measure.allocator import keep_freed_blocks
from harness.measure.environment import usable_cpus
from harness.processes import end_with_parent

MANIFEST = "manifest.json"
CITIES = {"train": ("altburg", "neustadt", "seehafen"), "val": ("bergheim", "flussau")}
SEQUENCE = 40  # frames of a sequence
#: Told the scenes drawn so far and all that are wanted.
ScenesDrawn = Callable[[int, int], None]
Job: TypeAlias = "tuple[str, int]"  # split, index
Size: TypeAlias = "tuple[int, int]"  # stored width, height


def fingerprint(
    name: str, counts: Mapping[str, int], seed: int = 0, size: Size | None = None
) -> str:
    """Name a data set by all that decides its bytes, e.g. ``scenes-v2-gta5-0d5ac90f2b7e``."""
    what = json.dumps(_recipe(name, counts, seed, size), sort_keys=True)
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    return f"scenes-v{GENERATOR_VERSION}-{name}-{digest}"


def _recipe(name: str, counts: Mapping[str, int], seed: int, size: Size | None) -> dict[str, Any]:
    if name not in SIZES:
        known = ", ".join(SIZES)
        raise BenchError(
            f"There is no rendering {name!r} of the generated streets; choose {known}."
        )
    return {
        "made_by": "uda-bench scenes", "version": GENERATOR_VERSION, "name": name,
        "size": list(size or SIZES[name]), "counts": dict(sorted(counts.items())), "seed": seed,
        "gap": asdict(GAP),
    }  # fmt: skip


def ensure_dataset(
    name: str,
    counts: Mapping[str, int],
    *,
    cache: Path | None = None,
    seed: int = 0,
    size: Size | None = None,
    progress: ScenesDrawn | None = None,
) -> Path:
    """Return a data root, the folder that holds ``name``/, from the cache; make it if missing.

    ``size`` is (W, H) in pixels, SIZES[name] by default. The cache is ``cache``, else
    $UDA_BENCH_CACHE, else the user's cache folder.
    """
    root = (cache or cache_dir()) / fingerprint(name, counts, seed, size)
    if not _is_made_of(root / name, _recipe(name, counts, seed, size)):
        write_dataset(name, counts, root, seed=seed, size=size, progress=progress)
        keep_bounded(GENERATED)
    mark_used(root)
    return root


def write_dataset(
    name: str,
    counts: Mapping[str, int],
    out: Path,
    *,
    seed: int = 0,
    size: Size | None = None,
    workers: int | None = None,
    progress: ScenesDrawn | None = None,
) -> Path:
    """Write ``counts`` (split -> images) as ``out``/``name`` and return that folder.

    The folder appears in one rename when it is complete: every image and label is counted first.
    One that this function made of the same recipe is kept where it is whole, else replaced, as one
    of another recipe is; DataError for any other folder of that name. Machines that share `out`
    may write the same set at once: each writes its own, and the first that is whole stays.
    """
    recipe = _recipe(name, counts, seed, size)
    final = Path(out) / name
    if _is_made_of(final, recipe):
        return final
    remove_abandoned(final)
    with folder_written_whole(final, partial(_publish, recipe=recipe)) as building:
        store = partial(_store, building, name, seed, size)
        jobs = [(split, index) for split in sorted(counts) for index in range(counts[split])]
        _fill(store, jobs, workers, progress)
        if lacking := _lacking(building, recipe):
            raise DataError(
                f"{final}: {lacking} when it was to be put in place; something removed files "
                "meanwhile. Nothing was put in place: run the same command again."
            )
        write_text(building / MANIFEST, json.dumps(recipe, indent=1) + "\n")
    return final


def _is_made_of(folder: Path, recipe: dict[str, Any]) -> bool:
    """Whether ``folder`` holds all of this recipe; False if absent, or of another one of ours."""
    if not folder.exists():
        return False
    try:
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("made_by") != recipe["made_by"]:
        raise DataError(
            f"{folder} exists and was not made by this generator (it has no {MANIFEST} of ours). "
            "Nothing was written; choose another folder."
        )
    return manifest == recipe and not _lacking(folder, recipe)


def _lacking(folder: Path, recipe: dict[str, Any]) -> str | None:
    """How many images of a split are there with their labels, both whole, where some are not."""
    layout = layout_of(recipe["name"])
    for split, count in recipe["counts"].items():
        pairs = list_pairs(layout, folder, split)
        files = [pair[: 2 if layout.is_labelled(split) else 1] for pair in pairs]
        names = [file for pair in files for file in pair]
        headers = dict(zip(names, png.read_headers(names), strict=True))
        whole = sum(all(_whole(headers[file]) for file in pair) for pair in files)
        if whole != count:
            return f"only {whole} of {count} {split} images are whole"
    return None


def _whole(header: png.PngHeader | None) -> bool:
    return header is not None and header.complete


def _publish(building: Path, final: Path, recipe: dict[str, Any]) -> None:
    """Rename into place; a process that was quicker with the same recipe wins."""
    for _ in range(10):
        try:
            building.rename(final)
            return
        except OSError:
            if _is_made_of(final, recipe):
                return
            # An older recipe of ours: move it aside in one step, then try again.
            aside = temporary_name(final)
            with contextlib.suppress(FileNotFoundError):
                final.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    raise DataError(f"{final} could not be put in place; is another program writing there?")


def _fill(
    store: Callable[[Job], None], jobs: list[Job], workers: int | None, progress: ScenesDrawn | None
) -> None:
    """Draw and store every scene, in parallel where that pays."""
    if workers is None:
        workers = min(16, usable_cpus()) if len(jobs) >= 64 else 1
    if workers <= 1:
        for done, job in enumerate(jobs, 1):
            store(job)
            if progress:
                progress(done, len(jobs))
        return
    # Spawned, not forked: the caller may hold threads (torch) that a fork would break.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin_worker) as pool:
        for done, _ in enumerate(pool.map(store, jobs, chunksize=4), 1):
            if progress:
                progress(done, len(jobs))


def _begin_worker() -> None:
    end_with_parent()
    keep_freed_blocks()


def _store(folder: Path, name: str, seed: int, size: Size | None, job: tuple[str, int]) -> None:
    """Draw one scene and write its two files."""
    split, index = job
    cv2.setNumThreads(1)
    image, label = draw_scene(name, split, index, size=size, seed=seed)
    store = {
        "gta5": _store_gta5, "synthia": _store_synthia, "cityscapes": _store_cityscapes,
        "acdc": _store_acdc, "darkzurich": _store_darkzurich,
    }[name]  # fmt: skip
    store(folder, split, index, image, label)
    os.utime(folder)  # so that other machines see that it is being written


def _png(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if picture.mode == "P":
        picture.save(path, compress_level=1)
    else:
        pixels = np.asarray(picture)
        _write_png(path, pixels if picture.mode == "L" else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def _write_png(path: Path, pixels: npt.NDArray[Any]) -> None:
    """Write grey or, in OpenCV's order, blue, green and red.

    As small as PIL's files at its level 1, and both written and read in half the time.
    """
    if not cv2.imwrite(str(path), pixels):
        raise DataError(f"{path} could not be written; is the disk full?")


def _store_gta5(
    folder: Path, split: str, index: int, image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]
) -> None:
    """images/00001.png and labels/00001.png, a palette PNG of Cityscapes label ids."""
    number = f"{index + 1:05d}.png"
    _png(folder / "images" / number, Image.fromarray(image))
    indices = Image.fromarray(label, mode="P")
    colours = np.zeros((256, 3), np.uint8)
    classes = catalogue.class_set("cityscapes19")
    for name, label_id in classes.label_ids.items():
        colours[label_id] = classes.colours[name]
    indices.putpalette(colours.tobytes())
    _png(folder / "labels" / number, indices)


def _store_synthia(
    folder: Path, split: str, index: int, image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]
) -> None:
    """RGB/0000000.png and GT/LABELS/0000000.png: 16 bits, class in red, instance in green."""
    number = f"{index:07d}.png"
    _png(folder / "RGB" / number, Image.fromarray(image))
    train = train_ids_of(label)
    ids = np.zeros(256, np.uint16)
    table = labels_of(layout_of("synthia")).encodings[0].table
    for synthia_id in np.flatnonzero(table != IGNORE):
        ids[table[synthia_id]] = synthia_id
    target = folder / "GT" / "LABELS" / number
    target.parent.mkdir(parents=True, exist_ok=True)
    things = (train != 255) & (train >= 11)
    _, instances = cv2.connectedComponents(things.astype(np.uint8))
    stored = np.zeros((*label.shape, 3), np.uint16)  # OpenCV's order: blue, green, red
    stored[..., 2] = ids[train]
    stored[..., 1] = instances
    _write_png(target, stored)


def _store_cityscapes(
    folder: Path, split: str, index: int, image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]
) -> None:
    """leftImg8bit/ and gtFine/ by split and city, label ids in 8 bits."""
    cities = CITIES.get(split, CITIES["train"])
    city = cities[index % len(cities)]
    stem = f"{city}_{index // len(cities):06d}_000019"
    _png(folder / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", Image.fromarray(image))
    _png(folder / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", Image.fromarray(label))


def _store_acdc(
    folder: Path, split: str, index: int, image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]
) -> None:
    """rgb_anon/ and gt/ by condition, split and sequence, both kinds of ids."""
    below = f"{condition('acdc', index)}/{split}"
    _store_frame(folder, below, index // len(CONDITIONS), image, label)


def _store_darkzurich(
    folder: Path, split: str, index: int, image: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8]
) -> None:
    """The same by split, night and sequence; images to train on go without a label."""
    labelled = layout_of("darkzurich").is_labelled(split)
    _store_frame(folder, f"{split}/night", index, image, label if labelled else None)


def _store_frame(
    folder: Path,
    below: str,
    number: int,
    image: npt.NDArray[np.uint8],
    label: npt.NDArray[np.uint8] | None,
) -> None:
    sequence = f"DRAWN{number // SEQUENCE:03d}"
    frame = f"{sequence}_frame_{number % SEQUENCE:06d}"
    _png(folder / "rgb_anon" / below / sequence / f"{frame}_rgb_anon.png", Image.fromarray(image))
    if label is not None:
        stem = folder / "gt" / below / sequence / frame
        for kind, ids in (("TrainIds", train_ids_of(label)), ("Ids", label)):
            _png(stem.with_name(f"{frame}_gt_label{kind}.png"), Image.fromarray(ids))


def train_ids_of(label: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Label ids of Cityscapes (H, W), as scenes are drawn -> train ids, 255 for ignored ones."""
    table: npt.NDArray[np.uint8] = labels_of(layout_of("cityscapes")).encodings[0].table
    return table[label]
