"""Noise and surface patterns, made once a process; facades, walls and fences as flat pictures."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from harness.data.scenes.canvas import WHOLE, Array, Colour, View, vector
from harness.data.scenes.styles import Style

Floats = Array  # float32
Texture = npt.NDArray[np.uint8]
TILE = 256  # side of a repeating noise tile in cells
#: How strong the noise on house fronts is.
SPECKLE = {"brick": 0.22, "stucco": 0.12, "plaster": 0.07, "gable": 0.06, "glass": 0.05}


@cache
def noise(kind: str) -> Floats:
    """Return a repeating tile (TILE, TILE) of mean 0 and roughly unit range."""
    rng = np.random.Generator(np.random.Philox(key=sum(kind.encode())))
    octaves = {"fine": (1,), "cloud": (64, 32, 16, 8), "patch": (32, 8), "rough": (8, 4, 2, 1)}[
        kind
    ]
    total = np.zeros((TILE, TILE), np.float32)
    for step in octaves:
        cells = rng.standard_normal((TILE // step,) * 2).astype(np.float32)
        wrapped = np.pad(cells, 2, mode="wrap")
        large = cv2.resize(wrapped, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        inner = large[2 * step : 2 * step + TILE, 2 * step : 2 * step + TILE]
        total += inner * (step**0.5 if len(octaves) > 1 else 1)
    return total / (total.std() * 2)


def sample(kind: str, x: Floats, y: Floats) -> Floats:
    """Look the tile up at cell coordinates of any shapes that broadcast."""
    row, column = y.astype(np.int32) & (TILE - 1), x.astype(np.int32) & (TILE - 1)
    return noise(kind).ravel().take(row * TILE + column)


def scaled(picture: Floats, factor: Floats) -> Floats:
    """Multiply a picture (h, w, 3) by a factor (h, w) for each pixel."""
    # Three whole planes: broadcasting a last axis of 1 to 3 is several times slower.
    return picture * cv2.merge([factor] * 3)


def ground_texture(kind: str, x: Floats, z: Floats) -> Floats:
    """Relative brightness (mean about 0) of a surface at world metres x, z."""
    if kind == "cracks":
        crack = np.abs(sample("patch", x * 12, z * 5)) < 0.03
        return (
            0.12 * sample("patch", x * 6, z * 2)
            + 0.08 * sample("fine", x * 30, z * 12)
            - 0.2 * crack
        )
    if kind == "speckle":
        return 0.14 * sample("fine", x * 14, z * 5) + 0.05 * sample("patch", x * 5, z * 5)
    if kind == "smooth":
        return 0.05 * sample("cloud", x * 20, z * 6) + 0.03 * sample("fine", x * 30, z * 10)
    if kind == "slabs":
        joint = (np.mod(x, 1.5) < 0.07) | (np.mod(z, 1.5) < 0.12)
        return 0.06 * sample("patch", x * 8, z * 8) - 0.22 * joint
    if kind == "tiles":
        check = (np.floor(x * 1.6) + np.floor(z * 1.6)) % 2
        return 0.22 * (check - 0.5) + 0.04 * sample("fine", x * 20, z * 8)
    if kind == "pavers":
        joint = np.mod(z + 0.5 * (np.floor(x / 0.4) % 2), 0.8) < 0.12
        return 0.05 * sample("rough", x * 8, z * 6) - 0.1 * joint
    if kind == "grass":
        return 0.16 * sample("rough", x * 14, z * 8) + 0.1 * sample("patch", x * 4, z * 4)
    return 0.25 * sample("fine", x * 12, z * 6)  # ballast


def speckled(
    picture: Floats,
    rng: np.random.Generator,
    kind: str,
    strength: float,
    start: tuple[int, int] = (0, 0),
) -> Floats:
    """Multiply a picture (h, w, 3) by noise at a random place of the tile, in place.

    ``start`` is the row and column of a larger picture that this one was cut from.
    """
    h, w = picture.shape[:2]
    row, column = (first + rng.integers(TILE) for first in start)
    y, x = np.arange(row, row + h), np.arange(column, column + w)
    tile = noise(kind).take(y, 0, mode="wrap").take(x, 1, mode="wrap")
    picture *= cv2.merge([1 + strength * tile] * 3)
    return picture


def opaque(picture: Floats, light: float = 1.0) -> Texture:
    """Cut to 8 bits, darken by ``light`` and add full opacity."""
    levels: Array = np.clip(picture, 0, 255).astype(np.uint8)
    if light != 1:
        levels = cv2.LUT(levels, (np.arange(256) * light).astype(np.uint8))
    full: Array = cv2.cvtColor(levels, cv2.COLOR_RGB2RGBA)
    return full


def facade(
    rng: np.random.Generator,
    style: Style,
    kind: str,
    size: tuple[float, float],
    density: float,
    view: View = WHOLE,
    light: float = 1.0,
) -> Texture:
    """Paint a house front of ``size`` (length, height) metres at ``density`` pixels a metre.

    What lies outside ``view`` may be left blank: more than half of all fronts' area does.
    """
    length, height = size
    base: Array = np.asarray(style.walls[rng.integers(len(style.walls))], np.float32)
    base = base * rng.uniform(0.85, 1.12) + rng.normal(0, 6, 3)
    floor = {"glass": 3.4, "brick": 3.2, "grid": 3.0}.get(kind, 3.1)
    bay = rng.uniform(
        *{"glass": (1.3, 2), "brick": (2.2, 3), "grid": (2.6, 3.6)}.get(kind, (1.9, 2.8))
    )
    storeys, bays = max(1, round(height / floor)), max(1, round(length / bay))
    tile_h, tile_w = (
        max(4, round(height * density / storeys)),
        max(4, round(length * density / bays)),
    )
    tile = _window_tile(rng, kind, base, tile_h, tile_w)
    # Curtains, reflections and lit rooms differ from window to window.
    red, green, blue = cv2.split(tile)
    glass = blue - red > 9 if kind == "glass" else (red + green + blue) / 3 < sum(base) / 3 * 0.62
    rooms = rng.normal(0, 16, (storeys, bays)) + 45 * (rng.random((storeys, bays)) < 0.12)
    rows = _met(view.top, view.bottom, storeys)
    columns = _met(view.left, view.right, bays)
    top, left = rows.start * tile_h, columns.start * tile_w
    front = _repeated(tile, glass, rooms[rows, columns])
    grain = "rough" if kind in ("stucco", "brick") else "cloud"
    front = speckled(front, rng, grain, SPECKLE.get(kind, 0.03), (top, left))
    if kind == "brick":
        course = max(2, round(density * 0.25))
        front[-top % course :: course] *= 0.85
    lowest = front[-tile_h:] if rows.stop == storeys else front[:0]
    _ground_floor(rng, style, lowest, left, (storeys, bays), (tile_h, tile_w))
    highest = front if top == 0 else front[:0]
    _top(kind, highest, density, base, storeys * tile_h)
    picture = np.zeros((storeys * tile_h, bays * tile_w, 4), np.uint8)
    picture[top : top + front.shape[0], left : left + front.shape[1]] = opaque(front, light)
    return picture


def _met(start: float, end: float, count: int) -> slice:
    """Which of ``count`` storeys or bays lie between two shares of them, and one more at each end.

    One at least, and the first of an even number, as shops have a pillar at every second bay.
    """
    first = max(math.floor(start * count) - 1, 0) // 2 * 2
    return slice(first, max(min(math.ceil(end * count) + 1, count), first + 1))


def _repeated(tile: Floats, glass: npt.NDArray[np.bool_], rooms: Array) -> Floats:
    """Repeat a tile (h, w, 3) for ``rooms`` (storeys, bays), each of which lights its ``glass``."""
    h, w = glass.shape
    # The last axis is a tile's whole row: along one of three channels numpy is slow.
    front = rooms.astype(np.float32)[:, None, :, None] * np.repeat(glass, 3, 1)[:, None]
    front += tile.reshape(h, 1, w * 3)
    return front.reshape(len(rooms) * h, -1, 3)


def _window_tile(rng: np.random.Generator, kind: str, base: Floats, h: int, w: int) -> Floats:
    """One bay of one storey."""
    tile = np.full((h, w, 3), base, np.float32)
    glass = np.array([38, 44, 50], np.float32) * rng.uniform(0.7, 1.4)

    def box(x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        tile[
            int(y0 * h) : max(int(y1 * h), int(y0 * h) + 1),
            int(x0 * w) : max(int(x1 * w), int(x0 * w) + 1),
        ] = colour

    if kind == "glass":
        tile[:] = np.array([88, 112, 130]) * rng.uniform(0.6, 1.2)
        box(0, 0.8, 1, 1, base * 0.8)
        box(0, 0, 0.1, 1, base * 0.7)
    elif kind == "brick":
        box(0.24, 0.2, 0.76, 0.84, (205, 200, 190))
        box(0.29, 0.24, 0.71, 0.8, glass)
        box(0.29, 0.5, 0.71, 0.54, (205, 200, 190))
    elif kind == "stucco":
        box(0.15, 0.3, 0.85, 0.72, glass)
        box(0.12, 0.72, 0.88, 0.78, base * 0.7)
    elif kind in ("grid", "plain"):
        box(0.1, 0.25, 0.9, 0.75, base * 1.25) if kind == "grid" else None
        box(0.2, 0.3, 0.8, 0.7, glass + vector(0, 10, 40))
        box(0, 0.95, 1, 1, base * 0.8) if kind == "grid" else None
    else:
        box(0.22, 0.16, 0.78, 0.86, base * 0.78 if rng.random() < 0.5 else base * 1.2)
        box(0.28, 0.22, 0.72, 0.8, glass * 0.9)
        box(0.48, 0.22, 0.53, 0.8, (190, 188, 182))
        box(0.28, 0.4, 0.72, 0.44, (190, 188, 182))
    return tile


def _ground_floor(
    rng: np.random.Generator,
    style: Style,
    low: Floats,
    left: int,
    counts: tuple[int, int],
    tile: tuple[int, int],
) -> None:
    """Put shops or a plinth and a door into the lowest storey, in place.

    ``low`` is its part from the pixel column ``left``, or is empty; ``counts`` are the storeys and
    bays of the house, ``tile`` the pixels (h, w) of each.
    """
    tile_h, tile_w = tile
    if rng.random() < 0.45 and counts[0] > 1:
        low[:] = np.array([52, 54, 56]) * rng.uniform(0.7, 1.5)
        low[: max(1, tile_h // 5)] = style.paints[rng.integers(len(style.paints))]
        for x in range(0, low.shape[1], tile_w * 2):
            low[:, x : x + max(1, tile_w // 5)] = (130, 125, 118)
        low[-max(1, tile_h // 7) :] = (84, 82, 80)
    else:
        low[-max(1, tile_h // 6) :] *= 0.7
        column = int(rng.integers(0, max(1, counts[1] * tile_w - tile_w))) - left
        door = slice(max(column + tile_w // 4, 0), max(column + tile_w * 3 // 4, 0))
        low[tile_h // 4 :, door] = (70, 52, 40)


def _top(kind: str, front: Floats, density: float, base: Floats, height: int) -> None:
    """Finish a front with its eaves: a roof of tiles, a cornice or a flat parapet, in place.

    ``front`` is what is painted of ``height`` rows, from the first on, or is empty.
    """
    rows = max(1, round(density * (1.6 if kind in ("plaster", "gable") else 0.6)))
    rows = min(rows, height // 3)
    if kind == "gable":
        front[:rows] = (104, 62, 50)
        front[: rows : max(2, rows // 5)] *= 0.8
    elif kind == "plaster":
        front[:rows] = (70, 68, 72)
    else:
        front[:rows] = base * (0.75 if kind != "stucco" else 1.15)
    front[rows : rows + max(1, rows // 4)] *= 0.65


def wall(
    rng: np.random.Generator, style: Style, size: tuple[float, float], density: float
) -> Texture:
    """Paint a free-standing wall: no openings, a coping on top, piers at intervals."""
    w, h = (max(6, round(side * density)) for side in size)
    tone = np.array([128, 122, 114], np.float32) * rng.uniform(0.75, 1.25) + rng.normal(0, 7, 3)
    y, x = _metres(h, w, density)
    picture = np.full((h, w, 3), tone, np.float32)
    if style.masonry == "blocks":
        row = np.floor(y / 0.4)
        joint = (np.mod(y, 0.4) < 0.07) | (np.mod(x + 0.5 * (row % 2), 1.0) < 0.07)
        picture = speckled(scaled(picture, 1 - np.float32(0.3) * joint), rng, "fine", 0.1)
    elif style.masonry == "stones":
        cells = sample("patch", x * 14, y * 22)
        picture = speckled(scaled(picture, 1 + 0.22 * cells), rng, "rough", 0.12)
    else:
        picture = speckled(picture, rng, "rough", 0.16)
    cap = max(1, round(0.16 * density))
    picture[:cap] *= 1.3
    picture[cap : cap + max(1, cap // 2)] *= 0.6
    picture[:, np.mod(x[0], 4.0) < 0.45] *= 0.82
    return opaque(picture)


def fence(
    rng: np.random.Generator, style: Style, size: tuple[float, float], density: float
) -> Texture:
    """Paint a fence one can see through: posts, rails and a filling."""
    w, h = (max(6, round(side * density)) for side in size)
    y, x = _metres(h, w, density)
    thin = max(0.05, 1.2 / density)  # never thinner than a texture pixel
    frame = (np.mod(x, 2.2) < 0.12 + thin) | (y < thin + 0.03) | (np.abs(y - size[1] * 0.82) < thin)
    if style.fence == "mesh":
        pitch = max(0.28, 3 / density)
        filling = (np.mod(x + y, pitch) < thin) | (np.mod(x - y, pitch) < thin)
        tone = (150, 150, 146) if rng.random() < 0.6 else (92, 70, 50)
    elif style.fence == "bars":
        filling = np.mod(x, max(0.3, 3 / density)) < max(0.09, thin)
        tone = (52, 60, 54) if rng.random() < 0.65 else (140, 142, 140)
    else:
        filling = np.mod(y, 0.34) < max(0.13, thin)
        tone = (190, 180, 165) if rng.random() < 0.5 else (100, 66, 44)
    colour = np.clip(np.asarray(tone) * rng.uniform(0.8, 1.15), 0, 255).astype(np.uint8)
    # A gap, the filling, the frame.
    parts = np.array([(*colour, 0), (*colour, 255), (*(colour * 0.75), 255)], np.uint8)
    return parts.take(np.where(frame, 2, filling), 0)


def _metres(h: int, w: int, density: float) -> tuple[Floats, Floats]:
    """The places of a picture's pixels: (h, 1) downwards, (1, w) to the right."""
    y, x = np.arange(h, dtype=np.float32), np.arange(w, dtype=np.float32)
    return y[:, None] / density, x[None] / density
