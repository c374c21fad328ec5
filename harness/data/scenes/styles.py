"""What tells the renderings apart: camera, light, colours, textures, layout, shapes and sensor."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np

Range: TypeAlias = tuple[float, float]
Rgb: TypeAlias = tuple[int, int, int]
Weights: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from, and through which lens. Metres and degrees."""

    focal: Range  # in image widths
    height: Range
    pitch: Range  # downwards
    yaw: float  # standard deviation
    roll: float  # standard deviation
    shift: Range  # to the right of the middle of the lane next to the oncoming traffic


@dataclass(frozen=True)
class Light:
    """Light and air."""

    sun: Range  # share of direct light: how dark shadows and fronts turned away from it are
    sky_top: tuple[Rgb, ...]
    sky_low: tuple[Rgb, ...]
    clouds: Range
    visibility: Range  # metres


@dataclass(frozen=True)
class Colours:
    """The colours of surfaces."""

    asphalt: tuple[Rgb, ...]
    pavement: tuple[Rgb, ...]
    kerb: Rgb
    grass: tuple[Rgb, ...]
    centre_line: Rgb
    walls: tuple[Rgb, ...]  # facades
    leaves: tuple[Rgb, ...]  # where they are green
    paints: tuple[Rgb, ...]
    clothes: tuple[Rgb, ...]
    lamp_case: Rgb  # of traffic lights
    bus: tuple[Rgb, ...]
    train: tuple[Rgb, ...]


@dataclass(frozen=True)
class Textures:
    """The patterns of surfaces."""

    road_texture: str
    pavement_texture: str
    grain: float  # strength of the road's texture
    masonry: str  # texture of free-standing walls
    fence: str
    foliage: float  # strength of the leaves' texture


@dataclass(frozen=True)
class Layout:
    """What stands where, and how much of it. Metres; chances are per scene or per slot."""

    lane: Range
    lanes: tuple[int, ...]  # on either side of the middle
    pavement_width: Range
    strip: float  # chance of a grass strip on a side
    strip_width: Range
    parking: float  # chance of a parking lane on a side
    junction: float  # chance of a cross street
    frontage: Weights  # what lines the street
    seasons: Weights  # what trees bear: green, autumn, bare
    bus_share: float  # chance of one in a scene; likewise trucks and trams
    truck_share: float
    tram_share: float
    traffic: float  # chance that a slot on the road holds a vehicle
    trees_mean: float  # a scene, on average; likewise the others
    people_mean: float
    bicycles_mean: float
    motorcycles_mean: float
    poles_mean: float


@dataclass(frozen=True)
class Shapes:
    """The forms of things."""

    storeys: tuple[int, int]
    facades: tuple[str, ...]
    trees: tuple[str, ...]
    cars: tuple[str, ...]
    bonnet: float  # metres of engine before the cab of a bus or lorry
    mast_arm: bool  # traffic lights hang over the road
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Sensor:
    """From light to grey levels."""

    blur: Range  # sigma in stored pixels
    sharpen: float
    noise: Range  # grey levels
    contrast: Range
    gains: tuple[float, float, float]
    saturation: float
    vignette: float
    jpeg: int  # quality of a compressed recording, 0 if it was not compressed
    hood: str  # outline of the ego car: "", "flat" or "round"


@dataclass(frozen=True)
class Style(Camera, Light, Colours, Textures, Layout, Shapes, Sensor):
    """One rendering."""


@dataclass(frozen=True)
class Gap:
    """How far the sources are from the target in each respect: 0 as the target, 1 as drawn here.

    Between the two, numbers lie in between, and of what cannot (a texture, a palette) a scene takes
    the source's with this probability, else the target's.
    """

    camera: float = 1.0
    light: float = 1.0
    colours: float = 1.0
    textures: float = 1.0
    layout: float = 1.0
    shapes: float = 1.0
    sensor: float = 1.0


#: The domain gap of every generated source; part of the generated sets' identity.
GAP = Gap()


def weighted(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """Draw one of a few kinds by weight; numpy's own choice takes several times as long."""
    bounds = [*accumulate(weights.values())]
    return list(weights)[bisect_right([b / bounds[-1] for b in bounds], rng.random())]


def style_of(name: str, rng: np.random.Generator, gap: Gap = GAP) -> Style:
    """The style of one scene of a set."""
    style = STYLES[name]
    if style is CITYSCAPES:
        return style
    parts = (Camera, Light, Colours, Textures, Layout, Shapes, Sensor)
    changed: dict[str, Any] = {}
    for part in parts:
        share: float = getattr(gap, part.__name__.lower())
        if share == 1:
            continue
        for field in fields(part):
            ours, target = getattr(style, field.name), getattr(CITYSCAPES, field.name)
            changed[field.name] = _between(target, ours, share, str(field.type), rng)
    return replace(style, **changed)


def _between(target: Any, ours: Any, share: float, kind: str, rng: np.random.Generator) -> Any:
    """A value that is ``share`` of the way from the target's to the source's."""
    if kind == "float":
        return target + share * (ours - target)
    if kind == "Range":
        return tuple(a + share * (b - a) for a, b in zip(target, ours, strict=True))
    if kind == "Weights":
        names = dict.fromkeys([*ours, *target])
        return {n: (1 - share) * target.get(n, 0) + share * ours.get(n, 0) for n in names}
    return ours if rng.random() < share else target


GTA5 = Style(
    focal=(0.62, 0.85), height=(1.2, 2.6), pitch=(-2.0, 7.0), yaw=7.0, roll=1.0,
    shift=(-0.5, 4.0), sun=(0.45, 0.75),
    sky_top=((70, 115, 175), (95, 130, 170), (120, 125, 140), (60, 90, 150)),
    sky_low=((190, 205, 215), (225, 200, 170), (180, 185, 190)),
    clouds=(0.0, 0.7), visibility=(150, 500),
    asphalt=((105, 100, 96), (92, 90, 90), (118, 110, 102), (80, 78, 80)),
    pavement=((168, 158, 144), (150, 145, 138), (180, 168, 150)),
    kerb=(190, 184, 172),
    grass=((120, 120, 62), (98, 112, 55), (140, 128, 78)),
    road_texture="cracks", pavement_texture="slabs", grain=1.0, centre_line=(205, 165, 50),
    lane=(3.4, 4.0), lanes=(1, 2, 2, 3), pavement_width=(3.0, 6.0),
    strip=0.55, strip_width=(1.5, 5.0), parking=0.25, junction=0.5,
    seasons={"green": 6.5, "autumn": 1.5, "bare": 2.0},
    bus_share=0.34, truck_share=0.45, tram_share=0.28,
    frontage={"building": 6, "wall": 3.2, "fence": 3.6, "hedge": 0.8, "open": 1.2},
    storeys=(1, 14), facades=("brick", "glass", "stucco"),
    walls=((150, 90, 70), (170, 145, 115), (190, 175, 150), (120, 110, 105), (165, 120, 90)),
    masonry="blocks", fence="mesh", trees=("palm", "palm", "bush", "broad", "broad"),
    leaves=((70, 95, 40), (90, 108, 48), (58, 80, 42)), foliage=0.12,
    cars=("sedan", "coupe", "suv", "pickup"),
    paints=((30, 30, 34), (200, 200, 200), (140, 30, 28), (50, 70, 110), (170, 150, 110),
            (90, 95, 98), (210, 170, 40)),
    clothes=((38, 40, 52), (186, 182, 176), (200, 60, 44), (230, 226, 220), (70, 110, 160),
             (212, 160, 60), (60, 60, 62), (120, 160, 120)),
    lamp_case=(190, 150, 30), bonnet=1.1, mast_arm=True,
    signs=("octagon", "limit", "diamond", "board"),
    bus=((205, 205, 200), (60, 110, 160), (215, 165, 40)),
    train=((175, 180, 185), (150, 60, 50), (190, 170, 120)),
    trees_mean=4.0, people_mean=5.0, bicycles_mean=2.4, motorcycles_mean=2.2, poles_mean=5.0,
    traffic=0.55,
    blur=(0.0, 0.2), sharpen=0.8, noise=(0.5, 2.5), contrast=(1.05, 1.25),
    gains=(1.04, 1.0, 0.93), saturation=1.1, vignette=0.0, jpeg=0, hood="round",
)  # fmt: skip

SYNTHIA = Style(
    focal=(0.5, 0.85), height=(1.5, 5.0), pitch=(2.0, 17.0), yaw=14.0, roll=1.0,
    shift=(-3.0, 5.0), sun=(0.2, 0.5),
    sky_top=((80, 130, 190), (130, 150, 175), (160, 170, 185)),
    sky_low=((200, 215, 230), (215, 215, 220)),
    clouds=(0.1, 0.9), visibility=(200, 600),
    asphalt=((74, 76, 84), (88, 88, 94), (64, 66, 72)),
    pavement=((120, 100, 92), (138, 128, 118), (108, 106, 112)),
    kerb=(150, 150, 150),
    grass=((90, 130, 60),),
    road_texture="speckle", pavement_texture="tiles", grain=1.5, centre_line=(225, 225, 225),
    lane=(3.0, 3.6), lanes=(1, 1, 2), pavement_width=(3.0, 7.0),
    strip=0.0, strip_width=(1.0, 2.0), parking=0.3, junction=0.35,
    seasons={"green": 5.5, "autumn": 2.0, "bare": 2.5},
    bus_share=0.5, truck_share=0.0, tram_share=0.0,
    frontage={"building": 6, "wall": 2.4, "fence": 2.6, "hedge": 1.2},
    storeys=(2, 8), facades=("grid", "plain"),
    walls=((185, 150, 95), (150, 85, 75), (120, 135, 150), (200, 190, 170), (110, 140, 110)),
    masonry="rough", fence="rails", trees=("cone", "ball", "broad"),
    leaves=((60, 115, 45), (85, 135, 60), (40, 90, 50)), foliage=0.0,
    cars=("compact", "sedan"),
    paints=((200, 30, 30), (30, 60, 170), (220, 220, 220), (40, 40, 40), (220, 190, 40),
            (60, 130, 70)),
    clothes=((200, 40, 40), (40, 80, 190), (60, 150, 80), (230, 200, 60), (240, 240, 240),
             (150, 60, 160), (40, 40, 44)),
    lamp_case=(60, 62, 66), bonnet=0.0, mast_arm=False,
    signs=("ring", "triangle", "octagon", "arrow"),
    bus=((190, 40, 40), (60, 140, 90), (230, 200, 60)),
    train=((200, 200, 200),),
    trees_mean=5.0, people_mean=11.0, bicycles_mean=4.0, motorcycles_mean=3.2, poles_mean=5.0,
    traffic=0.45,
    blur=(0.0, 0.15), sharpen=0.0, noise=(0.0, 1.0), contrast=(0.95, 1.15),
    gains=(1.0, 1.0, 1.02), saturation=1.1, vignette=0.0, jpeg=0, hood="",
)  # fmt: skip

CITYSCAPES = Style(
    focal=(1.0, 1.1), height=(1.18, 1.28), pitch=(1.0, 2.6), yaw=2.5, roll=0.4,
    shift=(-0.3, 0.3), sun=(0.02, 0.15),
    sky_top=((205, 212, 215), (190, 202, 212), (215, 215, 212)),
    sky_low=((232, 234, 232), (225, 230, 232)),
    clouds=(0.0, 0.3), visibility=(110, 260),
    asphalt=((82, 86, 84), (92, 94, 92), (74, 78, 78)),
    pavement=((132, 128, 122), (122, 122, 118), (140, 132, 126)),
    kerb=(158, 156, 150),
    grass=((92, 112, 66), (80, 100, 60), (108, 112, 72)),
    road_texture="smooth", pavement_texture="pavers", grain=0.5, centre_line=(200, 202, 200),
    lane=(2.7, 3.1), lanes=(1, 1, 1, 2), pavement_width=(2.2, 4.0),
    strip=0.5, strip_width=(1.2, 3.2), parking=0.55, junction=0.3,
    seasons={"green": 3.0, "autumn": 2.5, "bare": 4.5},
    bus_share=0.3, truck_share=0.32, tram_share=0.36,
    frontage={"building": 6.5, "wall": 3.0, "fence": 3.4, "hedge": 1.0, "open": 1.0},
    storeys=(2, 5), facades=("plaster", "gable"),
    walls=((158, 148, 128), (140, 128, 112), (170, 166, 156), (128, 118, 112), (150, 122, 100),
           (122, 126, 124)),
    masonry="stones", fence="bars", trees=("broad", "tall", "bush"),
    leaves=((62, 82, 52), (74, 92, 58), (52, 70, 48), (88, 96, 62)), foliage=0.28,
    cars=("hatch", "hatch", "estate", "estate", "van"),
    paints=((38, 40, 42), (150, 154, 156), (200, 202, 202), (36, 46, 74), (92, 30, 32),
            (88, 92, 94), (60, 64, 62)),
    clothes=((38, 40, 52), (70, 30, 34), (52, 66, 92), (92, 86, 78), (44, 56, 48), (90, 84, 80),
             (30, 30, 30), (120, 112, 98), (150, 146, 140), (120, 44, 44)),
    lamp_case=(28, 30, 30), bonnet=0.0, mast_arm=False,
    signs=("ring", "triangle", "priority", "arrow"),
    bus=((205, 206, 200), (180, 150, 50), (150, 50, 48)),
    train=((200, 190, 120), (170, 52, 50), (196, 200, 200)),
    trees_mean=5.0, people_mean=4.5, bicycles_mean=2.0, motorcycles_mean=1.2, poles_mean=4.5,
    traffic=0.4,
    blur=(0.45, 0.7), sharpen=0.0, noise=(2.0, 4.5), contrast=(0.88, 1.02),
    gains=(0.98, 1.01, 0.99), saturation=0.8, vignette=0.25, jpeg=0, hood="flat",
)  # fmt: skip

STYLES = {"gta5": GTA5, "synthia": SYNTHIA, "cityscapes": CITYSCAPES}
