"""A street by night: what shines, what it shines on, and how a camera sees that."""

from __future__ import annotations

import cv2
import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.depth import DepthCanvas
from harness.data.scenes.furniture import LAMPS as SIGNALS
from harness.data.scenes.textures import Floats

VEHICLES = (ids.CAR, ids.TRUCK, ids.BUS, ids.TRAIN)
#: What shines: the labels it bears, the colour it is drawn in, the light it gives (linear RGB).
SHINING: tuple[tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]], ...] = (
    ((ids.POLE,), (215, 215, 205), (2.4, 1.7, 0.9)),  # street lamps
    (VEHICLES, (236, 234, 220), (2.6, 2.5, 2.2)),  # headlights
    (VEHICLES, (190, 28, 24), (1.3, 0.05, 0.04)),  # rear lights
    (VEHICLES, (200, 40, 36), (1.3, 0.05, 0.04)),
    (VEHICLES, (235, 160, 40), (1.0, 0.5, 0.08)),  # a bus's destination
    ((ids.TRAFFIC_LIGHT,), SIGNALS[0], (1.6, 0.06, 0.04)),
    ((ids.TRAFFIC_LIGHT,), SIGNALS[1], (1.6, 0.8, 0.08)),
    ((ids.TRAFFIC_LIGHT,), SIGNALS[2], (0.08, 1.3, 0.6)),
)
#: Linear RGB of rooms, warm bulbs, neutral tubes, a screen, and how common each is.
ROOMS = ((1.0, 0.62, 0.26), (0.9, 0.7, 0.4), (0.75, 0.8, 0.75), (0.4, 0.5, 0.8))
ROOM_SHARES = (0.45, 0.25, 0.2, 0.1)
SODIUM, LED = (1.0, 0.56, 0.2), (1.0, 0.9, 0.75)
GAMMA = 2.2


def tone(level: float, rgb: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Floats:
    """A colour (3,) of a brightness."""
    return np.asarray(rgb, np.float32) * np.float32(level)


def soften(picture: Floats, sigma: float, down: float | None = None) -> Floats:
    """Blur a picture by a Gaussian of ``sigma`` pixels, ``down`` of them in the other direction."""
    down = down or sigma
    height, width = picture.shape[:2]
    step = max(1, int(min(sigma, down) / 1.5))  # a wide blur of a small copy is as good
    small = cv2.resize(picture, (-(-width // step), -(-height // step)), None, 0, 0, cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step, sigmaY=down / step)
    blurred: Floats = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return blurred


def shining(canvas: DepthCanvas) -> Floats:
    """Light (H, W, 3), linear, that lamps give off; the canvas must be drawn in clear air."""
    light = np.zeros(canvas.image.shape, np.float32)
    bearers = np.zeros(256, bool)
    bearers[[label for labels, *_ in SHINING for label in labels]] = True
    rows, columns = np.nonzero(bearers[canvas.label])
    labels_there, colours_there = canvas.label[rows, columns], canvas.image[rows, columns]
    for labels, colour, strength in SHINING:
        lit = np.isin(labels_there, labels) & (colours_there == np.array(colour)).all(-1)
        light[rows[lit], columns[lit]] = strength
    return light


def windows(canvas: DepthCanvas, share: float, rng: np.random.Generator) -> Floats:
    """Light (H, W, 3), linear, of the rooms behind a share of the windows."""
    red, green, blue = cv2.split(canvas.image)
    dark = (cv2.max(cv2.max(red, green), blue) < 72) & (blue > red.astype(np.int16) - 3)
    glass = (dark & (canvas.label == ids.BUILDING)).astype(np.uint8)
    count, pane, boxes, _ = cv2.connectedComponentsWithStats(glass, connectivity=4)
    room = np.array(ROOMS, np.float32)[rng.choice(len(ROOMS), count, p=ROOM_SHARES)]
    lit = np.where(rng.random(count) < share, rng.uniform(0.15, 0.9, count), 0.0)
    lit[boxes[:, cv2.CC_STAT_AREA] < 4] = 0  # a speck of plaster
    lit[0] = 0  # all that is no window
    glow: Floats = (room * lit[:, None].astype(np.float32))[np.asarray(pane)]
    return glow


def bloom(light: Floats, widths: tuple[tuple[float, float], ...]) -> Floats:
    """A light (H, W, 3) and what lens and air spread of it: pairs of width, weight.

    Widths are in percent of the image's height.
    """
    total = light.copy()
    for width, weight in widths:
        total += np.float32(weight) * soften(light, width * len(light) / 100)
    return total


def _lamp_light(points: Floats, rng: np.random.Generator) -> Floats:
    """Light (H, W) of a row of street lamps on each side at the places (H, W, 3)."""
    x, y, z = cv2.split(points)
    light = np.zeros(x.shape, np.float32)
    gap, offset = rng.uniform(20, 30), rng.uniform(0, 20)
    for side in (-1, 1):
        across = (x - np.float32(side * rng.uniform(6, 9))) ** 2 + (y - np.float32(6.5)) ** 2
        for i in range(4):
            along = z - np.float32(offset + gap * (i + 0.5 * (side > 0)))
            light += np.float32(rng.uniform(3, 7)) / (across + along * along + 4)
    return light


def _head_light(points: Floats, depth: Floats) -> Floats:
    """Light (H, W) of the own car's headlights: a low, wide beam."""
    x, y, _ = cv2.split(points)
    wide = np.exp(-((x / (0.45 * depth + 1.5)) ** 2))
    low = 1 / (1 + np.exp(np.clip(4 * (y - 0.9 - 0.01 * depth), -20, 20)))
    glow: Floats = (0.08 + low) * wide * 14 / (depth * depth + 60)
    return glow


def darken(canvas: DepthCanvas, rng: np.random.Generator, exposure: float) -> None:
    """Turn a scene drawn by day, in clear air and without shadows, into night."""
    depth, rays = canvas.depth(), canvas.rays()
    sky = np.isinf(depth)
    near = np.where(sky, np.float32(1e3), depth)
    points = canvas.camera.position.astype(np.float32) + rays * near[..., None]
    lamps, rooms = shining(canvas), windows(canvas, rng.uniform(0.12, 0.4), rng)
    street = SODIUM if rng.random() < 0.65 else LED
    beam = _head_light(points, near)
    # Signs throw a headlight's light back to where it came from.
    beam[canvas.label == ids.TRAFFIC_SIGN] *= 5
    light = _lamp_light(points, rng)[..., None] * tone(1, street)
    light += beam[..., None] * tone(1, (1.0, 0.95, 0.85))
    light += tone(rng.uniform(0.6, 2.0), (0.006, 0.007, 0.011))
    albedo = ((np.arange(256, dtype=np.float32) / 255) ** GAMMA)[canvas.image]
    seen = albedo * light
    # A town's own light hangs over its roofs.
    up = np.maximum(rays[sky, 1], 0)[:, None]
    seen[sky] = tone(0.004, street) * np.exp(-up / 0.12) + tone(0.0012, (1.0, 1.2, 2.0))
    emitted = bloom(lamps, ((0.6, 0.5), (2.0, 0.3), (7.0, 0.18))) + bloom(rooms, ((1.0, 0.12),))
    linear = np.clip(np.float32(exposure) * seen + emitted, 0, 1)
    canvas.image[:] = 255 * cv2.pow(linear, 1 / GAMMA)
