"""Generated fog, night, rain and snow: seen as such, over depths that are right."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cityscapes import CITYSCAPES_IDS
from PIL import Image

from harness.data.classes import lookup_table
from harness.data.datasets import open_dataset
from harness.data.scenes import (
    adverse,
    draw_scene,
    furniture,
    ids,
    layout,
    lights,
    vehicles,
    write_dataset,
)  # fmt: skip
from harness.data.scenes.adverse import CONDITIONS
from harness.data.scenes.canvas import Projection
from harness.data.scenes.depth import DepthCanvas

SMALL = (96, 54)
TRAIN_IDS = lookup_table(CITYSCAPES_IDS)


def scenes(condition: str, count: int = 4, name: str = "acdc"):
    first, step = (CONDITIONS.index(condition), 4) if name == "acdc" else (0, 1)
    return [draw_scene(name, "train", first + step * i, size=SMALL) for i in range(count)]


def level(image, where=...):
    return float(image.mean(-1)[where].mean())


def clear(seed: int = 0, style: str = "fog") -> DepthCanvas:
    """A scene before any weather, at the canvas's own size."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    canvas = layout.compose(adverse.STYLES[style], (192, 108), rng, True, DepthCanvas)
    assert isinstance(canvas, DepthCanvas)
    return canvas


def plain(size: tuple[int, int]) -> DepthCanvas:
    """An empty plain, seen from 1.5 m, straight ahead."""
    camera = Projection(size, size[0] * 0.625, 1.5, (0.0, 0.0, 0.0))
    canvas = DepthCanvas(camera, (0, 0, 0), 1e9)
    canvas.label[: size[1] // 2] = ids.SKY
    return canvas


@pytest.fixture
def empty() -> DepthCanvas:
    return plain((64, 32))


def wall(x0: float, z0: float, x1: float, z1: float):
    return np.array([[x0, 0, z0], [x1, 0, z1], [x1, 3, z1], [x0, 3, z0]], float)


def test_depth_of_the_ground_and_the_sky(empty):
    depth = empty.depth()
    assert np.isinf(depth[:16]).all()
    # Row r looks (r - 15.5) / 40 down per metre ahead.
    np.testing.assert_allclose(depth[20:, 7], 1.5 * 40 / (np.arange(20, 32) - 15.5), rtol=1e-4)


def test_depth_of_everything_that_stands(empty):
    empty.polygon(wall(-1, 6, 1, 6), (9, 9, 9), ids.CAR)
    assert empty.depth()[14, 32] == pytest.approx(6, rel=0.03)
    empty.blobs(np.array([[0.0, 1.5, 4.0]]), np.array([0.3]), np.array([[9.0] * 3]), ids.VEGETATION)
    assert empty.depth()[16, 32] == pytest.approx(4, rel=0.03)
    empty.rods(np.array([[0.5, 0, 3.0], [0.5, 3, 3.0]]), 0.2, (9, 9, 9), ids.POLE)
    assert empty.depth()[16, 32 + 6] == pytest.approx(3, rel=0.03)
    assert (empty.label[16, 32], empty.label[16, 38]) == (ids.VEGETATION, ids.POLE)


def test_a_wall_along_the_street_recedes(empty):
    picture = np.full((8, 8, 4), 255, np.uint8)
    empty.textured(wall(-3, 5, -3, 40), picture, ids.BUILDING)
    row = empty.depth()[15]
    for column, z in ((12, 3 * 40 / 20), (22, 3 * 40 / 10)):  # x / z = (column - 32) / 40
        assert row[column] == pytest.approx(z, rel=0.08)


def test_what_lies_flat_leaves_the_depth(empty):
    before = empty.depth()
    empty.polygon(np.array([[-1, 0, 3], [1, 0, 3], [1, 0, 9.0], [-1, 0, 9]]), (200, 200, 200), None)
    empty.polygon(np.array([[-1, 0, 3], [1, 0, 3], [1, 0, 9.0], [-1, 0, 9]]), None, ids.ROAD)
    np.testing.assert_array_equal(empty.depth(), before)


def test_a_whole_scene_has_depths_where_its_things_stand():
    canvas = clear(3)
    depth = canvas.depth()
    assert np.isinf(depth[canvas.label == ids.SKY]).all()
    # Beside the sky itself only what one sees of it through a bare crown.
    assert set(canvas.label[np.isinf(depth)].tolist()) <= {ids.SKY, ids.VEGETATION}
    things = np.isin(canvas.label, (ids.CAR, ids.PERSON, ids.POLE, ids.TRAFFIC_SIGN))
    assert things.any()
    assert depth[things].max() < 80
    assert depth.min() > 0.4


def test_acdc_has_the_four_conditions_in_turn_and_dark_zurich_the_night():
    assert [adverse.condition("acdc", i) for i in range(5)] == [*CONDITIONS, "fog"]
    assert {adverse.condition("darkzurich", i) for i in range(5)} == {"night"}


def test_fog_hides_what_is_far():
    for image, label in scenes("fog"):
        upper, lower = image[5:25].astype(float), image[-12:].astype(float)
        assert upper.mean() > lower.mean() + 15
        far = image[20:27].mean(-1)[label[20:27] != ids.SKY]
        assert far.std() < 40


@pytest.mark.parametrize("name", ["acdc", "darkzurich"])
def test_night_is_dark_and_full_of_lights(name):
    nights = scenes("night", 6, name)
    for image, label in nights:
        sky = label == ids.SKY
        assert level(image) < 75
        if sky.sum() > 50:
            assert level(image, sky) < 45
    assert np.mean([(image.max(-1) > 230).sum() for image, _ in nights]) > 3


def test_every_light_is_found_in_the_drawing():
    """By label and colour: who repaints a lamp in a drawing has to tell lights.py."""
    style, rng = adverse.STYLES["night"], np.random.default_rng(0)
    drawings = [
        partial(draw, x=x, z=z, heading=heading)
        for draw in (vehicles.car, vehicles.bus, vehicles.train)
        for x, z, heading in ((0.0, 8.0, 0.0), (0.0, 24.0, np.pi))
    ]
    drawings += [partial(furniture.street_lamp, x=1.0, z=14.0, inward=-1)]
    drawings += [partial(furniture.traffic_light, x=0.0, z=9.0, inward=-1)] * 12
    colours = set()
    for draw in drawings:
        canvas = plain((256, 192))
        draw(canvas, style, rng)
        light = lights.shining(canvas)
        colours |= {tuple(rgb) for rgb in light[light.any(-1)].tolist()}
    wanted = {tuple(np.float32(strength).tolist()) for *_, strength in lights.SHINING}
    assert colours == wanted


def test_some_windows_are_lit_and_only_houses_have_them():
    canvas = clear(5)
    rng = np.random.default_rng(0)
    rooms = lights.windows(canvas, 0.5, rng)
    lit = rooms.any(-1)
    assert 0.001 < lit.mean() < 0.3
    assert (canvas.label[lit] == ids.BUILDING).all()
    assert not lights.windows(canvas, 0.0, rng).any()


def test_rain_is_duller_than_the_street_by_day_but_no_night():
    for image, label in scenes("rain"):
        assert 45 < level(image) < 150
        assert np.ptp(image.astype(int), axis=-1)[label != ids.TRAFFIC_LIGHT].mean() < 40


def test_snow_whitens_the_ground_beside_the_road():
    for image, label in scenes("snow", 6):
        beside = np.isin(label, (ids.SIDEWALK, ids.TERRAIN))
        if beside.sum() > 50:
            assert level(image, beside) > level(image, label == ids.ROAD) + 10


def test_wide_blurs_are_blurs():
    """`soften` works on a small copy: its weight stays, and its width is as asked for."""
    dot = np.zeros((120, 160, 3), np.float32)
    dot[60, 80] = 1
    for sigma in (0.8, 3.0, 9.0):
        soft = lights.soften(dot, sigma)[..., 0]
        assert soft.sum() == pytest.approx(1, rel=0.05)
        columns = np.arange(160) - 80
        spread = np.sqrt((soft.sum(0) * columns**2).sum() - (soft.sum(0) * columns).sum() ** 2)
        assert spread == pytest.approx(sigma, rel=0.2, abs=0.15)


@pytest.mark.parametrize("name", ["acdc", "darkzurich"])
def test_all_classes_occur(name):
    seen: set[int] = set()
    for index in range(60):
        seen |= set(np.unique(TRAIN_IDS[draw_scene(name, "train", index, size=SMALL).label]))
        if seen >= set(range(19)):
            return
    assert seen >= set(range(19))


def test_acdc_on_disk(tmp_path: Path):
    folder = write_dataset("acdc", {"train": 8, "val": 4}, tmp_path, size=SMALL)
    for condition in CONDITIONS:
        for split, count in (("train", 2), ("val", 1)):
            images = sorted((folder / "rgb_anon" / condition / split).glob("*/*_rgb_anon.png"))
            assert len(images) == count
            for image in images:
                stem = image.name.removesuffix("_rgb_anon.png")
                labels = folder / "gt" / condition / split / image.parent.name
                train_ids, label_ids = (
                    np.array(Image.open(labels / f"{stem}_gt_{kind}.png"))
                    for kind in ("labelTrainIds", "labelIds")
                )
                np.testing.assert_array_equal(TRAIN_IDS[label_ids], train_ids)
    train = open_dataset("acdc", tmp_path, "train")
    scene = draw_scene("acdc", "train", 4, size=SMALL)  # the second of fog
    np.testing.assert_array_equal(train.read_image(1), scene.image)
    np.testing.assert_array_equal(train.read_label(1), TRAIN_IDS[scene.label])


def test_dark_zurich_on_disk_has_no_label_to_train_on(tmp_path: Path):
    folder = write_dataset("darkzurich", {"train": 2, "val": 1}, tmp_path, size=SMALL)
    assert len(list((folder / "rgb_anon/train/night").glob("*/*_rgb_anon.png"))) == 2
    assert not list((folder / "gt").glob("train/**/*.png"))
    assert len(open_dataset("darkzurich", tmp_path, "train")) == 2
    val = open_dataset("darkzurich", tmp_path, "val")
    scene = draw_scene("darkzurich", "val", 0, size=SMALL)
    np.testing.assert_array_equal(val.read_label(0), TRAIN_IDS[scene.label])
