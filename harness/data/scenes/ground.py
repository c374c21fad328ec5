"""Sky and ground: every pixel's ray meets one of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

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
    """Fill the canvas with a gradient and clouds, as far down as there is sky."""
    height, width = canvas.label.shape
    last = canvas.camera.horizon()[1]
    top = np.asarray(style.sky_top[rng.integers(len(style.sky_top))], np.float32)
    low = np.asarray(style.sky_low[rng.integers(len(style.sky_low))], np.float32)
    fade = np.clip(np.linspace(0, 1.9, height, dtype=np.float32), 0, 1)[:last, None]
    sky = top * (1 - fade) + low * fade  # (last, 3)
    row, column = rng.integers(0, TILE, 2)
    tile = np.roll(noise("cloud"), (int(row), int(column)), (0, 1))[:64, :128]
    cloud = cv2.resize(tile, (width, height), interpolation=cv2.INTER_CUBIC)
    cover = np.clip(cloud[:last] + 0.2, 0, 1) * rng.uniform(*style.clouds)
    # Plane by plane: numpy is several times slower along a last axis of three.
    planes = [(tone + (244 - tone) * cover).astype(np.uint8) for tone in sky.T[:, :, None]]
    canvas.image[:last] = cv2.merge(planes)
    canvas.label[:] = ids.SKY


def paint_ground(canvas: Canvas, style: Style, section: Section, rng: np.random.Generator) -> None:
    """Colour and label everything below the horizon, then the marks on the road."""
    first = canvas.camera.horizon()[0]
    x, z = canvas.camera.ground(first)
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
    value = np.zeros(zone.size, np.float32)
    textures = {
        "road": style.road_texture, "parking": style.pavement_texture, "kerb": "smooth",
        "sidewalk": style.pavement_texture, "terrain": "grass", "ballast": "ballast",
    }  # fmt: skip
    origin = rng.uniform(0, 50, 2)
    for kind in dict.fromkeys(kinds):
        of_kind = _look_up(zone, [k == kind for k in kinds], np.uint8).view(np.bool_)
        where = np.flatnonzero(of_kind & hit)
        strength = style.grain if kind in ("road", "sidewalk") else 1.0
        value[where] = strength * ground_texture(
            textures[kind],
            x.ravel().take(where) + np.float32(origin[0]),
            z.ravel().take(where) + np.float32(origin[1]),
        )
    keep = np.exp(-np.minimum(z, 1e3) / canvas.visibility)
    light, far = (1 + value.reshape(z.shape) * near) * keep, 1 - keep
    planes = [
        np.clip(_look_up(zone, tones, np.float32) * light + far * air, 0, 255).astype(np.uint8)
        for tones, air in zip(colours.T, canvas.haze.astype(np.float32), strict=True)
    ]
    drawn = hit.view(np.uint8)
    cv2.copyTo(cv2.merge(planes), drawn, canvas.image[first:])
    labels = _look_up(zone, [LABELS[kind] for kind in kinds], np.uint8)
    cv2.copyTo(labels, drawn, canvas.label[first:])
    _mark(canvas, style, section, rng)


def _look_up(
    zone: npt.NDArray[np.uint8], values: npt.ArrayLike, kind: type[np.uint8] | type[np.float32]
) -> Array:
    """One value for each pixel, by its zone: OpenCV's tables are faster than numpy's indexing."""
    table = np.zeros(256, kind)
    table[: len(np.atleast_1d(values))] = values
    looked_up: Array = cv2.LUT(zone, table)
    return looked_up


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
    first = max(canvas.camera.horizon()[0] - 2, 0)  # no shadow lies higher, the blur included
    soft = cv2.blur(shade[first:].astype(np.float32), (3, 3))
    canvas.image[first:] = scaled(canvas.image[first:], 1 - depth * soft)


def shadow_of(corners: Array, height: float, sun: Array) -> Array:
    """The ground shadow of a prism: hull of its footprint (N, 2) and its shifted copy."""
    points = np.concatenate([corners, corners + height * sun]).astype(np.float32)
    hull = cv2.convexHull(points)[:, 0]
    outline = np.zeros((len(hull), 3))
    outline[:, ::2] = hull
    return outline
