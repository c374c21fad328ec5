"""Fog, rain and snow, put between a scene drawn in clear air and the camera."""

from __future__ import annotations

import cv2
import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.depth import DepthCanvas
from harness.data.scenes.lights import bloom, shining, soften, tone
from harness.data.scenes.textures import Floats, Texture, noise, sample

GROUND = (ids.ROAD, ids.PARKING, ids.SIDEWALK, ids.RAIL_TRACK)
#: Things whose upper edges snow lies on.
LEDGES = (
    ids.BUILDING, ids.WALL, ids.FENCE, ids.VEGETATION, ids.CAR, ids.TRUCK, ids.BUS, ids.TRAIN,
    ids.TRAFFIC_LIGHT, ids.TRAFFIC_SIGN,
)  # fmt: skip


def fog(canvas: DepthCanvas, rng: np.random.Generator) -> None:
    """Koschmieder's law: light fades with depth, the air's own takes its place."""
    visibility = float(np.exp(rng.uniform(np.log(14), np.log(50))))  # to 1/e, metres
    air = tone(rng.uniform(165, 215), (1.0, 1.0, 1.015))
    image = _dull(canvas.image, 0.75, rng.uniform(0.75, 0.9))
    banks = 1 + 0.12 * _clouds(canvas, rng)
    keep = _kept(canvas.depth() * banks, visibility)
    soft = soften(image, _pixels(canvas, 0.9))
    image = soft + (image - soft) * keep  # light scattered on its way blurs what is far
    _expose(canvas, image * keep + air * (1 - keep))


def rain(canvas: DepthCanvas, rng: np.random.Generator) -> None:
    """A dull sky mirrored in wet ground, lights on, streaks in the air, drops on the glass."""
    lamps = shining(canvas)
    air = tone(rng.uniform(140, 175), (0.98, 1.0, 1.03))
    image = _dull(canvas.image, 0.7, rng.uniform(0.62, 0.8))
    depth = canvas.depth()
    image[np.isinf(depth)] = air * np.float32(rng.uniform(0.95, 1.1))
    keep = _kept(depth, rng.uniform(60, 130))
    image = image * keep + air * (1 - keep)
    image += 180 * bloom(lamps, ((0.5, 0.4), (2.0, 0.2)))
    image = _mirrored(canvas, image, rng)
    _expose(canvas, _drops(_streaks(image, rng), rng))


def snow(canvas: DepthCanvas, rng: np.random.Generator) -> None:
    """Snow on the ground, worn away in the tracks, on ledges and leaves, and in the air."""
    air = tone(rng.uniform(185, 222), (0.99, 1.0, 1.02))
    white = tone(rng.uniform(205, 235), (0.98, 0.99, 1.02))
    image = _dull(canvas.image, 0.7, rng.uniform(0.8, 0.95))
    depth = canvas.depth()
    image[np.isinf(depth)] = air
    cover = _snow_cover(canvas, depth, rng)[..., None]
    grain = 1 + 0.04 * _clouds(canvas, rng)[..., None]
    image += (white * grain - image) * cover
    keep = _kept(depth, rng.uniform(60, 160))
    _expose(canvas, _flakes(image * keep + air * (1 - keep), rng))


def _expose(canvas: DepthCanvas, image: Floats) -> None:
    canvas.image[:] = np.clip(image, 0, 255)


def _kept(depth: Floats, visibility: float) -> Floats:
    """The share (H, W, 1) of a thing's light that comes through the air."""
    kept: Floats = np.exp(depth / np.float32(-visibility))[..., None]
    return kept


def _dull(image: Texture, saturation: float, brightness: float) -> Floats:
    """The image (H, W, 3) as it looks under a closed sky."""
    levels = image.astype(np.float32)
    grey = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)[..., None]
    dull: Floats = brightness * (grey + saturation * (levels - grey))
    return dull


def _pixels(canvas: DepthCanvas, percent: float) -> float:
    """A share of the image's height."""
    return percent / 100 * canvas.camera.size[1]


def _clouds(canvas: DepthCanvas, rng: np.random.Generator) -> Floats:
    """Smooth noise (H, W) of mean 0 and about unit range."""
    row, column = (int(n) for n in rng.integers(0, 192, 2))
    tile = noise("cloud")[row : row + 48, column : column + 64]
    smooth: Floats = cv2.resize(tile, canvas.camera.size, interpolation=cv2.INTER_CUBIC)
    return smooth


def _ground_places(canvas: DepthCanvas) -> tuple[Floats, Floats]:
    """World x and z (H, W) of the ground at each pixel; far away above the horizon."""
    x, z = canvas.camera.ground()
    hit = np.isfinite(z)
    return np.where(hit, x, np.float32(0)), np.where(hit, z, np.float32(1e3))


def _mirrored(canvas: DepthCanvas, image: Floats, rng: np.random.Generator) -> Floats:
    """Let wet ground mirror what is above it, more so where one looks at it flat."""
    down = np.maximum(-canvas.rays()[..., 1], 0)
    wet = np.isin(canvas.label, GROUND)
    horizon = (down == 0).sum(0).astype(np.float32)  # the row where each column's ground begins
    row: Floats = np.indices(down.shape, np.float32)[0]
    column: Floats = np.indices(down.shape, np.float32)[1]
    mirror = cv2.remap(image, column, np.maximum(2 * horizon - row, 0), cv2.INTER_LINEAR)
    # Ripples draw a reflection out downwards.
    mirror = soften(mirror, _pixels(canvas, 0.5), down=_pixels(canvas, 2.5))
    x, z = _ground_places(canvas)
    puddles = np.clip(0.5 + 0.5 * sample("cloud", x * 9, z * 5), 0, 1)
    share = np.clip(0.18 + 0.75 * puddles / (1 + 12 * down), 0, 0.8) * rng.uniform(0.6, 1.0)
    share[~wet] = 0
    dark = np.where(wet, np.float32(0.72), np.float32(1))  # a wet surface is darker than a dry one
    mixed: Floats = image * (dark * (1 - share))[..., None] + mirror * share[..., None]
    return mixed


def _streaks(image: Floats, rng: np.random.Generator) -> Floats:
    height, width = image.shape[:2]
    layer: Floats = np.zeros((height, width), np.float32)
    slant, unit = rng.normal(0, 0.15), height / 100
    for _ in range(int(rng.uniform(90, 260))):
        x, y = rng.uniform(0, width), rng.uniform(-0.1, 1) * height
        long = rng.uniform(2.5, 8) * unit
        end = int(x + slant * long), int(y + long)
        strength, thick = rng.uniform(0.2, 0.6), max(1, round(unit / 2))
        cv2.line(layer, (int(x), int(y)), end, strength, thick)
    layer = 0.8 * cv2.GaussianBlur(layer, (0, 0), 0.25 * unit)[..., None]
    drawn: Floats = image + (215 - image) * layer
    return drawn


def _drops(image: Floats, rng: np.random.Generator) -> Floats:
    """Drops on the windscreen: in each, a blurred view of a wide part of the scene."""
    height, width = image.shape[:2]
    unit = height / 100
    mask: Floats = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(0, 14))):
        centre = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        radius = rng.uniform(0.8, 3.2) * unit
        axes = max(1, round(radius)), max(1, round(radius * rng.uniform(0.9, 1.5)))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, rng.uniform(0.6, 0.95), -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.35 * unit)[..., None]
    view = soften(image, 4 * unit) * 1.05 + 6
    seen: Floats = image + (view - image) * mask
    return seen


def _snow_cover(canvas: DepthCanvas, depth: Floats, rng: np.random.Generator) -> Floats:
    """The share (H, W) of each pixel that snow covers."""
    label = canvas.label
    x, z = _ground_places(canvas)
    patches = 0.18 * sample("cloud", x * 6, z * 4) + 0.1 * sample("rough", x * 10, z * 6)
    fallen = rng.uniform(0.3, 1.0)
    cover = np.zeros(label.shape, np.float32)

    def lay(labels: tuple[int, ...], share: Floats | float) -> None:
        where = np.isin(label, labels)
        cover[where] = np.clip(share + patches, 0, 0.97)[where]

    from_wheel = np.abs(np.abs(np.mod(x + 1.6, 3.2) - 1.6) - 0.75)  # of a lane 3.2 m wide
    lay((ids.TERRAIN,), 0.75 + 0.3 * fallen)
    lay((ids.SIDEWALK, ids.PARKING, ids.RAIL_TRACK), 0.25 + 0.7 * fallen)
    lay((ids.ROAD,), 1.1 * fallen - 0.75 + 0.45 * np.clip(from_wheel / 0.4, 0, 1))
    green = label == ids.VEGETATION
    cover[green] = 0.18 + 0.5 * fallen * (_twigs(canvas, rng) > 0.2)[green]
    # Ten centimetres on whatever ends against something farther away.
    thick = 0.1 * canvas.camera.focal / np.maximum(depth, 1)
    ledge = np.isin(label, LEDGES)
    for rows in (1, 2, 3):
        higher, behind = np.roll(label, rows, 0), np.roll(depth, rows, 0)
        end = (label != higher) & (behind > depth + 0.5) & (thick >= rows - 0.5)
        cover[end & ledge] = 0.85
    return cover


def _twigs(canvas: DepthCanvas, rng: np.random.Generator) -> Floats:
    """Fine noise (H, W) of mean 0."""
    width, height = canvas.camera.size
    tile = rng.standard_normal((height // 2 + 1, width // 2 + 1), np.float32)
    fine: Floats = cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR)
    return fine


def _flakes(image: Floats, rng: np.random.Generator) -> Floats:
    height, width = image.shape[:2]
    unit = height / 100
    layer: Floats = np.zeros((height, width), np.float32)
    for _ in range(int(rng.uniform(60, 320))):
        centre = int(rng.uniform(0, width)), int(rng.uniform(0, height))
        radius = max(1, round(unit * rng.exponential(0.35)))
        cv2.circle(layer, centre, radius, rng.uniform(0.3, 0.9), -1)
    layer = cv2.GaussianBlur(layer, (0, 0), 0.3 * unit)[..., None]
    drawn: Floats = image + (245 - image) * layer
    return drawn
