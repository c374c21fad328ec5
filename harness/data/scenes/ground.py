"""Sky and ground: every pixel's ray meets one of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.canvas import Array, Canvas
from harness.data.scenes.styles import Style
from harness.data.scenes.textures import TILE, ground_texture, noise, scaled

LABELS = {
    "road": ids.ROAD,
    "parking": ids.PARKING,
    "kerb": ids.SIDEWALK,
    "sidewalk": ids.SIDEWALK,
    "terrain": ids.TERRAIN,
    "ballast": ids.RAIL_TRACK,
}


@dataclass
class Section:
    """A street's cross section, left to right, and where another street crosses it."""

    edges: list[float]  # metres, ascending; one fewer than kinds
    kinds: list[str]
    crossing: tuple[float, float] | None = None  # z range of the cross street
    lines: list[tuple[float, str]] = field(default_factory=list)  # x, "solid" or "dashed"
    rails: list[float] = field(default_factory=list)  # x of each rail


def paint_sky(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Fill the whole canvas with a gradient and clouds."""
    height, width = canvas.label.shape
    top = np.asarray(style.sky_top[rng.integers(len(style.sky_top))], np.float32)
    low = np.asarray(style.sky_low[rng.integers(len(style.sky_low))], np.float32)
    fade = np.clip(np.linspace(0, 1.9, height, dtype=np.float32), 0, 1)[:, None, None]
    sky = top * (1 - fade) + low * fade
    row, column = rng.integers(0, TILE, 2)
    tile = np.roll(noise("cloud"), (int(row), int(column)), (0, 1))[:64, :128]
    cloud = cv2.resize(tile, (width, height), interpolation=cv2.INTER_CUBIC)
    cover = np.clip(cloud + 0.2, 0, 1) * rng.uniform(*style.clouds)
    canvas.image[:] = sky + scaled(244 - sky, cover)
    canvas.label[:] = ids.SKY


def paint_ground(canvas: Canvas, style: Style, section: Section, rng: np.random.Generator) -> None:
    """Colour and label everything below the horizon, then the marks on the road."""
    x, z = canvas.camera.ground()
    below = np.flatnonzero(np.isfinite(z).any(axis=1))
    first = int(below[0]) if len(below) else len(z)
    x, z = x[first:], z[first:]
    hit = np.isfinite(z)
    x, z = np.where(hit, x, 0), np.where(hit, z, 1e4)
    zone = np.zeros(x.shape, np.uint8)
    for edge in section.edges:
        zone += x >= edge
    kinds = list(section.kinds)
    if section.crossing:
        start, end = section.crossing
        kinds.append("road")
        zone[(z > start) & (z < end)] = len(kinds) - 1
        # The corner pavements run along the cross street.
        kinds.append("sidewalk")
        side = (np.abs(z - (start + end) / 2) < (end - start) / 2 + 3) & (zone < len(kinds) - 2)
        off_road = np.array([kind == "terrain" for kind in kinds])[zone]
        zone[side & off_road] = len(kinds) - 1
    colours = _zone_colours(style, kinds, rng).astype(np.float32)
    # Texture that is finer than a pixel averages out with distance.
    near = np.clip(16 / np.maximum(z, 1), 0.12, 1)
    value = np.zeros(zone.shape, np.float32)
    textures = {
        "road": style.road_texture, "parking": style.pavement_texture, "kerb": "smooth",
        "sidewalk": style.pavement_texture, "terrain": "grass", "ballast": "ballast",
    }  # fmt: skip
    origin = rng.uniform(0, 50, 2)
    for kind in dict.fromkeys(kinds):
        where = np.array([k == kind for k in kinds])[zone] & hit
        strength = style.grain if kind in ("road", "sidewalk") else 1.0
        value[where] = strength * ground_texture(
            textures[kind], x[where] + np.float32(origin[0]), z[where] + np.float32(origin[1])
        )
    keep = np.exp(-np.minimum(z, 1e3) / canvas.visibility)
    haze = canvas.haze.astype(np.float32)
    tint = scaled(colours.take(zone, 0), (1 + value * near) * keep) + np.multiply.outer(
        1 - keep, haze
    )
    cv2.copyTo(np.clip(tint, 0, 255).astype(np.uint8), hit.view(np.uint8), canvas.image[first:])
    labels = np.array([LABELS[kind] for kind in kinds], np.uint8)
    np.copyto(canvas.label[first:], labels[zone], where=hit)
    _mark(canvas, style, section, rng)


def _zone_colours(style: Style, kinds: list[str], rng: np.random.Generator) -> Array:
    """One colour for each kind of surface, the same wherever it occurs in the scene."""
    pick = {
        "road": style.asphalt[rng.integers(len(style.asphalt))],
        "sidewalk": style.pavement[rng.integers(len(style.pavement))],
        "terrain": style.grass[rng.integers(len(style.grass))],
        "kerb": style.kerb,
        "ballast": (104, 94, 86),
    }
    light = rng.uniform(0.92, 1.08)
    jitter = {kind: np.asarray(rgb) * light + rng.normal(0, 3, 3) for kind, rgb in pick.items()}
    jitter["parking"] = 0.6 * jitter["road"] + 0.4 * jitter["sidewalk"]
    return np.array([jitter[kind] for kind in kinds])


def strip(x0: float, x1: float, z0: float, z1: float) -> Array:
    """A rectangle on the ground as a world polygon (4, 3)."""
    return np.array([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]], float)


def _mark(canvas: Canvas, style: Style, section: Section, rng: np.random.Generator) -> None:
    """Lane lines, rails, and zebra crossings before a cross street."""
    white = np.array([214, 214, 210]) * rng.uniform(0.85, 1.05)
    for x, kind in section.lines:
        colour = style.centre_line if kind == "centre" else white
        step, dash = (60.0, 60.0) if kind in ("solid", "centre") else (8.0, 4.0)
        for z in np.arange(-rng.uniform(0, 6), 80, step):
            if not section.crossing or z > section.crossing[1] or z + dash < section.crossing[0]:
                canvas.polygon(strip(x - 0.08, x + 0.08, z + 0.5, z + dash), colour, None)
    for x in section.rails:
        canvas.polygon(strip(x - 0.07, x + 0.07, 0.5, 120), (150, 140, 132), None)
    if section.crossing and section.crossing[0] > 7 and rng.random() < 0.8:
        roads = [i for i, kind in enumerate(section.kinds) if kind == "road"]
        left, right = section.edges[min(roads) - 1], section.edges[max(roads)]
        near = section.crossing[0] - 4.0
        for x in np.arange(left + 0.4, right - 0.5, 1.1):
            canvas.polygon(strip(x, x + 0.55, near, near + 3), white, None)


def cast_shadows(canvas: Canvas, footprints: list[Array], depth: float) -> None:
    """Darken the ground inside the world polygons; ``depth`` in [0, 1] is how much."""
    saved = canvas.label.copy()
    marker = 255
    for outline in footprints:
        canvas.polygon(outline, None, marker)
    shade = (canvas.label == marker) & (saved != ids.SKY)
    canvas.label[:] = saved
    soft = cv2.blur(shade.astype(np.float32), (3, 3))
    canvas.image[:] = scaled(canvas.image, 1 - depth * soft)


def shadow_of(corners: Array, height: float, sun: Array) -> Array:
    """The ground shadow of a prism: hull of its footprint (N, 2) and its shifted copy."""
    points = np.concatenate([corners, corners + height * sun]).astype(np.float32)
    hull = cv2.convexHull(points)[:, 0]
    return np.stack([hull[:, 0], np.zeros(len(hull)), hull[:, 1]], 1).astype(float)
