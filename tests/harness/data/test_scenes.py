"""Generated streets: the same everywhere, complete, in the real formats, never half written."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapes import CITYSCAPES_IDS, SYNTHIA_16, SYNTHIA_IDS
from PIL import Image

from harness.data.classes import lookup_table
from harness.data.scenes import (
    SIZES,
    draw_scene,
    ensure_dataset,
    fingerprint,
    write_dataset,
    writer,
)
from harness.errors import BenchError, DataError

ROOT = Path(__file__).parents[3]
SMALL = (96, 48)
TRAIN_IDS = lookup_table(CITYSCAPES_IDS)


def digest(name: str) -> str:
    scene = draw_scene(name, "train", 3, size=SMALL, seed=5)
    return hashlib.sha256(scene.image.tobytes() + scene.label.tobytes()).hexdigest()


@pytest.mark.parametrize("name", list(SIZES))
def test_default_size_and_types(name: str) -> None:
    image, label = draw_scene(name, "train", 0)
    width, height = SIZES[name]
    assert image.shape == (height, width, 3)
    assert label.shape == (height, width)
    assert image.dtype == label.dtype == np.uint8


def test_same_scene_in_another_process() -> None:
    code = f"""
from tests.harness.data.test_scenes import digest
print(*[digest(name) for name in {list(SIZES)}])
"""
    code = code.replace("from tests.harness.data.test_scenes", "from test_scenes")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == [digest(name) for name in SIZES], done.stderr


def test_each_coordinate_changes_the_scene() -> None:
    base = draw_scene("gta5", "train", 0, size=SMALL).image
    others = [
        draw_scene("gta5", "train", 1, size=SMALL),
        draw_scene("gta5", "val", 0, size=SMALL),
        draw_scene("gta5", "train", 0, size=SMALL, seed=1),
    ]
    assert all((base != other.image).mean() > 0.2 for other in others)


def test_unknown_rendering_names_the_choices() -> None:
    with pytest.raises(BenchError, match="gta5, synthia, cityscapes"):
        draw_scene("kitti", "train", 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gta5", range(19)), ("synthia", SYNTHIA_16), ("cityscapes", range(19))],
)
def test_classes_occur(name: str, expected: range | tuple[int, ...]) -> None:
    seen: set[int] = set()
    for index in range(40):
        seen |= set(np.unique(TRAIN_IDS[draw_scene(name, "train", index, size=SMALL).label]))
        if seen - {255} == set(expected):
            return
    assert seen - {255} == set(expected)


def test_synthia_never_has_the_missing_classes() -> None:
    for index in range(6):
        label = TRAIN_IDS[draw_scene("synthia", "train", index, size=SMALL).label]
        assert not np.isin(label, (9, 14, 16)).any()


def test_pavement_is_lighter_than_road_in_the_target() -> None:
    steps = []
    for index in range(6):
        image, label = draw_scene("cityscapes", "train", index, size=SMALL)
        grey = image.mean(-1)
        if (label == 8).sum() > 30:
            steps.append(np.median(grey[label == 8]) - np.median(grey[label == 7]))
    assert np.median(steps) > 15


def test_gta5_on_disk(tmp_path: Path) -> None:
    folder = write_dataset("gta5", {"train": 2}, tmp_path, size=SMALL)
    names = sorted(path.name for path in (folder / "labels").iterdir())
    assert names == sorted(path.name for path in (folder / "images").iterdir())
    assert names == ["00001.png", "00002.png"]
    label = Image.open(folder / "labels" / "00001.png")
    assert (label.mode, label.size) == ("P", SMALL)
    scene = draw_scene("gta5", "train", 0, size=SMALL)
    assert np.array_equal(np.array(label), scene.label)
    assert label.getpalette()[21:24] == [128, 64, 128]
    image = Image.open(folder / "images" / "00001.png")
    assert image.mode == "RGB"
    assert np.array_equal(np.array(image), scene.image)


def test_synthia_on_disk(tmp_path: Path) -> None:
    folder = write_dataset("synthia", {"train": 1}, tmp_path, size=SMALL)
    file = folder / "GT" / "LABELS" / "0000000.png"
    header = file.read_bytes()[:26]
    assert (header[24], header[25]) == (16, 2)  # bit depth, colour type RGB
    stored = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    scene = draw_scene("synthia", "train", 0, size=SMALL)
    red = stored[..., 2]
    assert np.array_equal(lookup_table(SYNTHIA_IDS)[red], TRAIN_IDS[scene.label])
    assert Image.open(folder / "RGB" / "0000000.png").mode == "RGB"


def test_cityscapes_on_disk(tmp_path: Path) -> None:
    folder = write_dataset("cityscapes", {"train": 4, "val": 2}, tmp_path, size=SMALL)
    for split, count in (("train", 4), ("val", 2)):
        images = sorted((folder / "leftImg8bit" / split).glob("*/*_000019_leftImg8bit.png"))
        assert len(images) == count
        for image in images:
            city = image.parent.name
            assert image.name.startswith(f"{city}_0000")
            name = image.name.replace("leftImg8bit", "gtFine_labelIds")
            label = Image.open(folder / "gtFine" / split / city / name)
            assert label.mode == "L"
            ids = set(np.unique(np.array(label)).tolist())
            assert 1 in ids  # the ego car
            assert ids <= set(range(34))


def test_two_workers_write_the_same(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    one = write_dataset("gta5", {"train": 3}, tmp_path / "a", size=SMALL, workers=1)
    two = write_dataset(
        "gta5",
        {"train": 3},
        tmp_path / "b",
        size=SMALL,
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    files = sorted(path.relative_to(one) for path in one.rglob("*.*"))
    assert [(one / file).read_bytes() for file in files] == [
        (two / file).read_bytes() for file in files
    ]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_fingerprint_names_all_that_matters() -> None:
    keys = {
        fingerprint("gta5", {"train": 3}, 0),
        fingerprint("gta5", {"train": 4}, 0),
        fingerprint("gta5", {"train": 3}, 1),
        fingerprint("gta5", {"train": 3}, 0, size=SMALL),
        fingerprint("synthia", {"train": 3}, 0),
    }
    assert len(keys) == 5
    assert fingerprint("gta5", {"train": 3}, 0) == fingerprint("gta5", {"train": 3}, 0)
    assert all(key.startswith("scenes-v") for key in keys)


def test_ensure_is_idempotent(tmp_path: Path) -> None:
    root = ensure_dataset("gta5", {"train": 2}, cache=tmp_path, size=SMALL)
    stamp = (root / "gta5" / "labels" / "00001.png").stat().st_mtime_ns
    begin = time.perf_counter()
    assert ensure_dataset("gta5", {"train": 2}, cache=tmp_path, size=SMALL) == root
    assert time.perf_counter() - begin < 0.1
    assert (root / "gta5" / "labels" / "00001.png").stat().st_mtime_ns == stamp


def test_cache_folder_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path))
    root = ensure_dataset("gta5", {"train": 1}, size=SMALL)
    assert root == tmp_path / fingerprint("gta5", {"train": 1}, 0, size=SMALL)


def test_another_recipe_replaces_ours_but_nothing_foreign(tmp_path: Path) -> None:
    write_dataset("gta5", {"train": 2}, tmp_path, size=SMALL)
    folder = write_dataset("gta5", {"train": 1}, tmp_path, size=SMALL)
    assert len(list((folder / "images").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["gta5"]
    foreign = tmp_path / "synthia"
    foreign.mkdir()
    (foreign / "holiday.txt").write_text("keep me")
    with pytest.raises(DataError, match="not made by this generator"):
        write_dataset("synthia", {"train": 1}, tmp_path, size=SMALL)
    assert (foreign / "holiday.txt").read_text() == "keep me"


def start_making(cache: Path, count: int) -> subprocess.Popen[bytes]:
    code = (
        "from pathlib import Path\nfrom harness.data.scenes import ensure_dataset\n"
        f"ensure_dataset('gta5', {{'train': {count}}}, cache=Path({str(cache)!r}), size={SMALL})"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)


def test_a_killed_run_leaves_nothing_visible(tmp_path: Path) -> None:
    process = start_making(tmp_path, 16)
    try:
        limit = time.monotonic() + 30
        while not list(tmp_path.glob("*/.gta5.*-*.tmp/labels/*")):
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(tmp_path.glob("*/.gta5.*-*.tmp"))
    assert not list(tmp_path.glob("*/gta5"))
    root = ensure_dataset("gta5", {"train": 16}, cache=tmp_path, size=SMALL)
    assert len(list((root / "gta5" / "labels").iterdir())) == 16
    assert [path.name for path in root.iterdir()] == ["gta5"]


def test_two_processes_that_race_both_end_well(tmp_path: Path) -> None:
    racers = [start_making(tmp_path, 4) for _ in range(2)]
    assert [racer.wait(60) for racer in racers] == [0, 0]
    (root,) = tmp_path.iterdir()
    assert [path.name for path in root.iterdir()] == ["gta5"]
    assert len(list((root / "gta5" / "images").iterdir())) == 4


@pytest.mark.parametrize("lost", ["images/00002.png", "labels/00001.png"])
def test_a_set_that_lost_files_while_it_was_drawn_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """As when another machine takes a living process's folder for a dead one's."""
    plain = writer._fill

    def robbed(store, jobs, workers, progress):
        plain(store, jobs, workers, progress)
        (store.args[0] / lost).unlink()

    monkeypatch.setattr(writer, "_fill", robbed)
    with pytest.raises(DataError, match="only 1 of 2 train images are whole"):
        write_dataset("gta5", {"train": 2}, tmp_path, size=(96, 48))
    assert list(tmp_path.iterdir()) == []


def test_a_set_in_the_cache_that_lacks_files_is_drawn_again(tmp_path: Path) -> None:
    root = ensure_dataset("gta5", {"train": 2}, cache=tmp_path, size=(96, 48))
    (root / "gta5/labels/00002.png").unlink()
    assert ensure_dataset("gta5", {"train": 2}, cache=tmp_path, size=(96, 48)) == root
    assert (root / "gta5/labels/00002.png").is_file()
