"""Composes a street: its cross section, what lines it, and what stands and moves on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from harness.data.scenes import frontage, furniture, ids, people, plants, vehicles
from harness.data.scenes.canvas import Array, Canvas, Projection
from harness.data.scenes.ground import Section, cast_shadows, paint_ground, paint_sky, shadow_of
from harness.data.scenes.styles import Style, weighted

SIDES = (-1, 1)  # left, right
FAR = 110.0  # metres of street that are lined
Thing = tuple[float, float, Callable[[], None]]  # x, z, how to draw it


def compose(
    style: Style,
    size: tuple[int, int],
    rng: np.random.Generator,
    full: bool,
    surface: type[Canvas] = Canvas,
) -> Canvas:
    """Draw a scene of ``size`` (W, H); ``full`` allows terrain, trucks and trains."""
    style = replace(style, seasons=_season(style, rng))
    canvas = _open(style, size, rng, surface)
    street = Street(canvas, style, rng, full)
    paint_sky(canvas, style, rng)
    paint_ground(canvas, style, street.section, rng)
    plots, things = street.plots(), street.things()
    cast_shadows(canvas, street.shadows, street.sunlight)
    _skyline(canvas, style, rng)
    for plot in sorted(plots, key=lambda plot: -plot.z1):
        frontage.draw(canvas, style, rng, plot)
    for *_, paint in sorted(things, key=lambda thing: -street.rank(thing[0], thing[1])):
        paint()
    plants.ruffle(canvas, style, rng)
    return canvas


def _season(style: Style, rng: np.random.Generator) -> dict[str, float]:
    """One street's trees: three in four of the scene's season, the others of any."""
    season, total = weighted(rng, style.seasons), sum(style.seasons.values())
    return {
        name: 0.25 * weight / total + 0.75 * (name == season)
        for name, weight in style.seasons.items()
    }


def _open(
    style: Style, size: tuple[int, int], rng: np.random.Generator, surface: type[Canvas]
) -> Canvas:
    angles = np.deg2rad(
        [rng.normal(0, style.yaw), rng.uniform(*style.pitch), rng.normal(0, style.roll)]
    )
    focal = float(rng.uniform(*style.focal)) * size[0]
    camera = Projection(size, focal, float(rng.uniform(*style.height)), angles.tolist())
    haze = style.sky_low[rng.integers(len(style.sky_low))]
    return surface(camera, haze, float(rng.uniform(*style.visibility)))


def _skyline(canvas: Canvas, style: Style, rng: np.random.Generator) -> None:
    """Houses and trees that close the street at its far end."""
    x = -60.0
    while x < 60:
        wide = rng.uniform(6, 16)
        green = rng.random() < 0.4
        tall = rng.uniform(4, 8) if green else rng.uniform(5, 16)
        label = ids.VEGETATION if green else ids.BUILDING
        tones = style.leaves if green else style.walls
        corners = [
            [x, 0, FAR + 5],
            [x + wide, 0, FAR + 5],
            [x + wide, tall, FAR + 5],
            [x, tall, FAR + 5],
        ]
        canvas.polygon(np.array(corners), np.asarray(tones[rng.integers(len(tones))]), label)
        x += wide


class Street:
    """One scene's world, in the camera's frame: the camera stands at x = 0 in its lane."""

    def __init__(self, canvas: Canvas, style: Style, rng: np.random.Generator, full: bool) -> None:
        self.canvas, self.style, self.rng, self.full = canvas, style, rng, full
        self.shadows: list[Array] = []
        self.taken: list[tuple[float, float, float, float]] = []  # x0, x1, z0, z1 of vehicles
        self.parked: dict[int, float] = {}  # side -> |x| of the parking lane's middle
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.1)
        self.sun = np.array([np.cos(angle), np.sin(angle)]) * reach
        self.sunlight = float(rng.uniform(*style.sun))
        self.lane = float(rng.uniform(*style.lane))
        # Lanes in the camera's direction, and against it.
        self.own_lanes, self.other = (style.lanes[rng.integers(len(style.lanes))] for _ in range(2))
        self.tram = full and rng.random() < style.tram_share
        # From the middle of the innermost own lane; beyond the outermost is the kerb.
        shift = float(rng.uniform(*style.shift))
        self.shift = min(shift, self.lane * (self.own_lanes - 1) + 1.0)
        self.right = self.lane * (self.own_lanes - 0.5) - self.shift
        self.left = -self.lane * (self.other + 0.5) - self.shift
        self.section = self._section()

    def _section(self) -> Section:
        """Lay out both sides from the road's edges outwards."""
        style, rng = self.style, self.rng
        crossing = None
        if rng.random() < style.junction:
            start = float(rng.uniform(12, 40))
            crossing = (start, start + float(rng.uniform(8, 14)))
        self.walk: dict[int, tuple[float, float]] = {}  # side -> the pavement's |x| range
        self.front: dict[int, float] = {}
        self.kerb: dict[int, float] = {}
        self.grass: dict[int, tuple[float, float]] = {}
        rails: list[float] = []
        self.track: float | None = None
        sides: dict[int, list[tuple[float, str]]] = {}
        for side, edge in ((-1, -self.left), (1, self.right)):
            zones: list[tuple[float, str]] = []  # outer |x|, kind
            at = edge
            zones.append((at, "road"))
            if self.tram and side == -1:
                self.track = -(at + 1.8)
                kind = "ballast" if rng.random() < 0.5 else "road"
                at += 3.6
                zones.append((at, kind))
                rails += [self.track - 0.72, self.track + 0.72]
            if rng.random() < style.parking:
                self.parked[side] = at + 1.1
                at += 2.2
                zones.append((at, "parking" if rng.random() < 0.4 else "road"))
            green = self.full and rng.random() < style.strip
            inner = rng.random() < 0.5
            if green and inner:
                self.grass[side] = (at, at + float(rng.uniform(*style.strip_width)))
                at = self.grass[side][1]
                zones.append((at, "terrain"))
            self.kerb[side] = at
            zones.append((at + 0.18, "kerb"))
            wide = float(rng.uniform(*style.pavement_width))
            self.walk[side] = (at + 0.3, at + wide)
            at += wide
            zones.append((at, "sidewalk"))
            if green and not inner:
                self.grass[side] = (at, at + float(rng.uniform(*style.strip_width)))
                at = self.grass[side][1]
                zones.append((at, "terrain"))
            self.front[side] = at
            zones.append((np.inf, "terrain" if self.full else "sidewalk"))
            sides[side] = zones
        kinds = [kind for _, kind in reversed(sides[-1])] + [kind for _, kind in sides[1][1:]]
        edges = [-outer for outer, _ in reversed(sides[-1][:-1])] + [o for o, _ in sides[1][:-1]]
        lines = [
            (self.left + 0.15, "solid"),
            (self.right - 0.15, "solid"),
            (-self.lane / 2 - self.shift, "centre"),
        ]
        lanes = range(-self.other, self.own_lanes - 1)
        lines += [(self.lane * (i + 0.5) - self.shift, "dashed") for i in lanes if i != -1]
        return Section(edges, kinds, crossing, lines, rails)

    def plots(self) -> list[frontage.Plot]:
        """What lines both sides; houses also shade the ground."""
        plots = []
        for side in SIDES:
            gap = self.section.crossing
            x = side * self.front[side]
            # The sun stands where shadows point away from.
            light = 1.0 if side * self.sun[0] > 0 else 1 - 0.6 * self.sunlight
            side_plots = frontage.plan(self.style, self.rng, x, side, gap, FAR)
            plots += [replace(plot, light=light) for plot in side_plots]
        for plot in plots:
            if plot.kind == "building" and plot.z1 > 2:
                x = plot.x
                box = np.array([[x, plot.z0], [x, plot.z1], [x + plot.side * 10, plot.z1]])
                self.shadows.append(shadow_of(box, min(plot.height, 12), self.sun))
        return plots

    def _shade(self, x: float, z: float, half: tuple[float, float], height: float) -> None:
        """Add the ground shadow of a box about (x, z), and the dark contact under it."""
        w, d = half
        box = np.array([[x - w, z - d], [x + w, z - d], [x + w, z + d], [x - w, z + d]])
        self.shadows.append(shadow_of(box, height, self.sun))

    def _free(self, side: int) -> float:
        low, high = self.walk[side]
        return float(side * self.rng.uniform(low + 0.2, max(high - 0.2, low + 0.3)))

    def rank(self, x: float, z: float) -> float:
        """The depth to paint at: what stands between us and a long vehicle's side follows it."""
        depth = z
        for x0, x1, z0, z1 in self.taken:
            beside = abs(x) < abs(x0 + x1) / 2 and x * (x0 + x1) >= 0
            if z1 - z0 > 6 and z0 < z < z1 and beside:
                depth = min(depth, z0 - 1 + (z - z0) / (z1 - z0))
        return depth

    def _blocked(self, x: float, z: float, room: float) -> bool:
        """Whether a vehicle stands within ``room`` metres of (x, z)."""
        return any(
            x0 - room < x < x1 + room and z0 - room < z < z1 + room for x0, x1, z0, z1 in self.taken
        )

    def things(self) -> list[Thing]:
        """Everything that stands or moves on the street."""
        things: list[Thing] = []
        things += self._moving()
        things += self._parked()
        things += self._furniture()
        things += self._trees()
        things += self._people()
        return things

    def _vehicle(self, kind: str, x: float, z: float, heading: float) -> Thing:
        canvas, style, rng = self.canvas, self.style, self.rng
        draw = {
            "car": vehicles.car,
            "bus": vehicles.bus,
            "truck": vehicles.truck,
            "train": vehicles.train,
        }
        length = {"car": 4.5, "bus": 11, "truck": 8, "train": 24}[kind]
        towards = abs(heading) > np.pi / 2
        origin = z + length if towards else z
        half = {"car": 0.95, "bus": 1.3, "truck": 1.3, "train": 1.35}[kind]
        self.taken.append((x - half, x + half, z, z + length))
        self._shade(x, z + length / 2, (half, length / 2), 1.4 if kind == "car" else 3.0)
        return x, z, partial(draw[kind], canvas, style, rng, x, origin, heading)

    def _moving(self) -> list[Thing]:
        """Vehicles in the lanes, one large one among them at most, and a tram on its track."""
        style, rng = self.style, self.rng
        things: list[Thing] = []
        lanes = [
            (self.lane * i - self.shift, 0.0 if i >= 0 else np.pi)
            for i in range(-self.other, self.own_lanes)
        ]
        sizes = (["bus"] * (rng.random() < style.bus_share)) + (
            ["truck"] * (self.full and rng.random() < style.truck_share)
        )
        rng.shuffle(sizes)
        order = rng.permutation(len(lanes))
        for i in order:
            x, heading = lanes[i]
            z = rng.uniform(9, 20) if abs(x) < 1.9 else rng.uniform(6, 14)
            while z < 70:
                kind = "car"
                if sizes and rng.random() < 0.75 and z < 30:
                    kind = sizes.pop()
                    z = max(z, 9.0)
                elif rng.random() > style.traffic:
                    z += rng.uniform(8, 16)
                    continue
                turn = heading + rng.normal(0, 0.04)
                things.append(self._vehicle(kind, x + rng.normal(0, 0.2), z, turn))
                z += {"car": 4.5, "bus": 12, "truck": 9}[kind] + rng.uniform(4, 14)
        if self.track is not None:
            things.append(self._vehicle("train", self.track, float(rng.uniform(7, 22)), 0.0))
        return things

    def _parked(self) -> list[Thing]:
        """Cars along the kerb, most of them close together."""
        things: list[Thing] = []
        for side, x in self.parked.items():
            z = float(self.rng.uniform(3, 10)) + 6.0 * (abs(x) < 2.2)
            while z < 60:
                crossing = self.section.crossing
                clear = crossing and crossing[0] - 6 < z < crossing[1] + 2
                if self.rng.random() < 0.6 and not clear:
                    heading = 0.0 if side > 0 or self.rng.random() < 0.4 else np.pi
                    things.append(self._vehicle("car", side * x, z, heading))
                z += 5.8
        return things

    def _furniture(self) -> list[Thing]:
        """Lamps, lights and signs near the kerb; lights stand where a street crosses."""
        canvas, style, rng = self.canvas, self.style, self.rng
        things: list[Thing] = []
        crossing = self.section.crossing
        for _ in range(rng.poisson(style.poles_mean) + 1):
            side = SIDES[rng.integers(2)]
            x, z = side * (self.kerb[side] + 0.5), float(rng.uniform(7, 34))
            kind = weighted(rng, {"lamp": 0.36, "light": 0.26, "sign": 0.32, "bin": 0.06})
            self._shade(x, z, (0.1, 0.1), 3.0)
            if kind == "lamp":
                things.append(
                    (x, z, partial(furniture.street_lamp, canvas, style, rng, x, z, -side))
                )
            elif kind == "light":
                z = crossing[0] - 1.0 if crossing and crossing[0] < 24 else min(z, 18.0)
                things.append(
                    (x, z, partial(furniture.traffic_light, canvas, style, rng, x, z, -side))
                )
            elif kind == "sign":
                z = min(z, 22.0)
                things.append((x, z, partial(furniture.traffic_sign, canvas, style, rng, x, z)))
            else:
                things.append((x, z, partial(furniture.bin_, canvas, rng, x, z)))
        return things

    def _trees(self) -> list[Thing]:
        canvas, style, rng = self.canvas, self.style, self.rng
        things: list[Thing] = []
        for _ in range(rng.poisson(style.trees_mean)):
            side = SIDES[rng.integers(2)]
            low, high = self.grass.get(side, (self.kerb[side] + 0.6, self.kerb[side] + 1.0))
            x, z = float(side * rng.uniform(low, high)), float(rng.uniform(9, 60))
            kind = style.trees[rng.integers(len(style.trees))]
            self._shade(x, z, (1.2, 1.2), 3.0)
            things.append((x, z, partial(plants.tree, canvas, style, rng, kind, x, z)))
        return things

    def _people(self) -> list[Thing]:
        """Persons on the pavements, some on the road; two-wheelers with and without riders."""
        canvas, rng = self.canvas, self.rng
        things: list[Thing] = []
        for _ in range(rng.poisson(self.style.people_mean)):
            side = SIDES[rng.integers(2)]
            crossing_over = rng.random() < 0.15
            x = float(rng.uniform(self.left, self.right)) if crossing_over else self._free(side)
            z = float(rng.uniform(6.5, 24))
            if self._blocked(x, z, 0.5):
                continue
            self._shade(x, z, (0.25, 0.2), 1.7)
            things.append((x, z, partial(people.person, canvas, self.style, rng, x, z)))
        means = (
            (people.bicycle, self.style.bicycles_mean),
            (people.motorcycle, self.style.motorcycles_mean),
        )
        for draw, mean in means:
            for _ in range(rng.poisson(mean)):
                side = SIDES[rng.integers(2)]
                ridden = bool(rng.random() < 0.62)
                edge = self.right if side > 0 else self.left
                x = edge - side * float(rng.uniform(0.2, 1.6)) if ridden else self._free(side)
                z = float(rng.uniform(6.5, 18))
                if self._blocked(x, z, 0.8):
                    continue
                self._shade(x, z, (0.8, 0.3), 1.2)
                things.append((x, z, partial(draw, canvas, self.style, rng, x, z, ridden)))
        return things
