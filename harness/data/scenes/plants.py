"""Trees in leaf, in autumn and bare, and hedges."""

from __future__ import annotations

import numpy as np

from harness.data.scenes import ids
from harness.data.scenes.canvas import UP, Array, Canvas
from harness.data.scenes.styles import Rgb, Style, weighted

#: Leaves before they fall: yellow, ochre, rust, red-brown, and some that are green still.
AUTUMN = ((176, 142, 52), (158, 112, 48), (142, 82, 42), (112, 66, 46), (110, 106, 54))
EVERGREEN = ("palm", "cone", "ball", "bush")  # "ball" and "bush" are clipped box or laurel
LIMBS, FORKS = 5, 4  # of a bare tree: limbs from the trunk, and what each branch forks into


def _leaf_colours(
    palette: tuple[Rgb, ...], rng: np.random.Generator, lit: Array, spread: float
) -> Array:
    """Colours (N, 3) of leaves, brighter where ``lit`` (N,) in [-1, 1] is high."""
    base = np.asarray(palette[rng.integers(len(palette))], float)
    base = base * rng.uniform(0.85, 1.15)
    shade = 1 + 0.35 * lit + rng.normal(0, spread, len(lit))
    return base * np.clip(shade, 0.35, 1.8)[:, None]


def _cluster(
    canvas: Canvas,
    style: Style,
    rng: np.random.Generator,
    centre: Array,
    radii: Array,
    leaf: float,
    palette: tuple[Rgb, ...],
) -> None:
    """Fill an ellipsoid with balls of a palette's colours, the outer and upper ones last."""
    distance = max(3.0, float(centre[2]))
    count = int(min(max(1400 / distance, 24), 110))
    way = rng.normal(size=(count, 3))
    way *= (rng.random(count) ** 0.4 / np.linalg.norm(way, axis=1))[:, None]
    order = np.argsort(way[:, 1] - way[:, 2])
    way = way[order]
    colours = _leaf_colours(palette, rng, way[:, 1], 0.2 if style.foliage else 0.05)
    sizes = leaf * radii.mean() * rng.uniform(0.6, 1.25, count)
    canvas.blobs(centre + way * radii, sizes, colours, ids.VEGETATION)


def tree(
    canvas: Canvas, style: Style, rng: np.random.Generator, kind: str, x: float, z: float
) -> None:
    """Draw a tree of ``kind``: broad, tall, palm, cone, ball or bush, in the style's season."""
    foot = np.array([x, 0.0, z])
    season = "green" if kind in EVERGREEN else weighted(rng, style.seasons)
    palette = AUTUMN if season == "autumn" else style.leaves
    bark = np.array([84, 70, 56]) * rng.uniform(0.7, 1.2)
    if kind == "palm":
        top = foot + UP * rng.uniform(5, 8) + np.array([rng.normal(0, 0.4), 0, 0])
        canvas.beam(foot, top, 0.3, bark * 1.3, ids.VEGETATION)
        _fronds(canvas, style, rng, top)
    elif kind == "cone":
        height = rng.uniform(5, 9)
        canvas.beam(foot, foot + UP * 1.5, 0.3, bark, ids.VEGETATION)
        colours = _leaf_colours(palette, rng, np.array([-0.4, 0.0, 0.35]), 0.04)
        for level, colour in zip((0.14, 0.38, 0.62), colours, strict=True):
            low, wide = foot + UP * height * level, height * 0.3 * (1.1 - level)
            tip = foot + UP * height * min(1, level + 0.42)
            side = np.array([wide, 0, 0])
            canvas.polygon(np.stack([low - side, low + side, tip]), colour, ids.VEGETATION)
            canvas.polygon(np.stack([low, low + side, tip]), colour * 0.8, ids.VEGETATION)
    elif kind == "bush":
        size = rng.uniform(0.6, 1.3)
        radii = np.array([size * 1.3, size, size])
        _cluster(canvas, style, rng, foot + UP * size * 0.8, radii, 0.22, palette)
    elif season == "bare":
        _bare(canvas, rng, foot, rng.uniform(5, 8.5) * (1.3 if kind == "tall" else 1.0))
    else:
        height = rng.uniform(5, 8.5) * (1.3 if kind == "tall" else 1.0)
        wide = height * {"broad": 0.32, "tall": 0.2, "ball": 0.25}[kind]
        trunk = height - wide * 1.2 if kind != "tall" else height * 0.55
        canvas.beam(foot, foot + UP * trunk, 0.3, bark, ids.VEGETATION)
        radii = np.array([wide, height * 0.48 if kind == "tall" else wide, wide])
        leaf = 0.42 if kind == "ball" else 0.17
        _cluster(canvas, style, rng, foot + UP * (height - radii[1]), radii, leaf, palette)


def _bare(canvas: Canvas, rng: np.random.Generator, foot: Array, height: float) -> None:
    """A trunk, limbs and twigs; the crown is labelled whole, as annotators outline it."""
    bark = np.array([88, 78, 68]) * rng.uniform(0.6, 1.15)
    fork = foot + UP * height * rng.uniform(0.3, 0.42)
    ways = np.stack(
        [np.linspace(-0.95, 0.95, LIMBS), np.full(LIMBS, 1.0), rng.uniform(-0.6, 0.6, LIMBS)], 1
    )
    ways[:, 1] -= 0.45 * np.abs(ways[:, 0])
    ways += rng.normal(0, 0.12, ways.shape)
    reach = 0.24 * height
    ends = fork + ways * reach * rng.uniform(0.8, 1.2, (LIMBS, 1))
    levels = [np.stack([np.broadcast_to(fork, ends.shape), ends], 1)]  # (branches, 2, 3) each
    for shorter in (0.65, 0.42):
        starts, ways = np.repeat(ends, FORKS, 0), np.repeat(ways, FORKS, 0)
        ways = ways + rng.normal(0, 0.45, ways.shape) + (0, 0.12, 0)
        ends = starts + ways * reach * shorter * rng.uniform(0.7, 1.2, (len(ways), 1))
        levels.append(np.stack([starts, ends], 1))
    for i in range(LIMBS):
        tips = (level[:, 1].reshape(LIMBS, -1, 3)[i] for level in levels)
        canvas.outline(np.concatenate([fork[None], *tips]), ids.VEGETATION)
    canvas.beam(foot, fork, 0.3, bark, ids.VEGETATION)
    for level, width, light in zip(levels, (0.14, 0.06, 0.03), (1.0, 1.15, 1.3), strict=True):
        canvas.strokes(level, width, bark * light, ids.VEGETATION)


def _fronds(canvas: Canvas, style: Style, rng: np.random.Generator, top: Array) -> None:
    """Leaves of a palm: curved blades around the top."""
    angles = np.linspace(0, 2 * np.pi, 11)[:-1] + rng.uniform(0, 1)
    colours = _leaf_colours(style.leaves, rng, rng.uniform(-0.5, 0.6, len(angles)), 0.1)
    reach = np.stack([np.cos(angles), 0.35 * np.sin(angles), np.zeros(len(angles))], 1)
    reach *= rng.uniform(1.7, 2.5, len(angles))[:, None]
    middle, tip = top + reach * 0.55 + (0, 0.45, 0), top + reach - (0, 0.6, 0)
    thick = np.array([0.0, 0.28, 0.0])
    blades = np.stack([np.broadcast_to(top, tip.shape), middle + thick, tip, middle - thick], 1)
    for blade, colour in zip(blades, colours, strict=True):
        canvas.polygon(blade, colour, ids.VEGETATION)


def hedge(
    canvas: Canvas, style: Style, rng: np.random.Generator, x: float, z: tuple[float, float]
) -> None:
    """Draw a hedge along the street at ``x`` between two depths, the far end first."""
    height = rng.uniform(1.2, 2.6)
    where = np.arange(z[1], z[0], -0.55)
    if len(where) == 0:
        return
    levels = np.linspace(0.25, 0.9, 4) * height
    centres = np.array([[x, level, depth] for depth in where for level in levels])
    centres += rng.normal(0, 0.12, centres.shape)
    lit = np.tile(np.linspace(-0.7, 0.7, 4), len(where))
    spread = 0.2 if style.foliage else 0.05
    palette = style.leaves if rng.random() < 0.5 + style.seasons["green"] / 2 else AUTUMN
    colours = _leaf_colours(palette, rng, lit, spread)
    near = canvas.camera.see(centres)[:, 2] > 2
    if near.any():
        sizes = rng.uniform(0.3, 0.55, len(centres))
        canvas.blobs(centres[near], sizes[near], colours[near], ids.VEGETATION)


def ruffle(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Give all foliage the fine light and shade of single leaves."""
    if not style.foliage:
        return
    green = canvas.label == ids.VEGETATION
    grain = 1 + style.foliage * rng.standard_normal(int(green.sum()), np.float32)
    canvas.image[green] = np.clip(canvas.image[green] * grain[:, None], 0, 255)
