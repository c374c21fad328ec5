"""What tells the three renderings apart: camera, light, palette, layout, shapes and sensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Range: TypeAlias = tuple[float, float]
Rgb: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """One rendering. Metres, degrees, RGB; chances are per scene or per slot."""

    # Camera
    focal: Range  # in image widths
    height: Range
    pitch: Range  # downwards
    yaw: float  # standard deviation
    roll: float  # standard deviation
    # Light and air
    sun: Range  # share of direct light: how dark shadows are
    sky_top: tuple[Rgb, ...]
    sky_low: tuple[Rgb, ...]
    clouds: Range
    visibility: Range
    # Ground
    asphalt: tuple[Rgb, ...]
    pavement: tuple[Rgb, ...]
    kerb: Rgb
    grass: tuple[Rgb, ...]
    road_texture: str
    pavement_texture: str
    grain: float  # strength of the road's texture
    centre_line: Rgb
    # Layout
    lane: Range
    lanes: tuple[int, ...]  # on either side of the middle
    pavement_width: Range
    strip: float  # chance of a grass strip on a side
    strip_width: Range
    parking: float  # chance of a parking lane on a side
    junction: float  # chance of a cross street
    frontage: dict[str, float]  # what lines the street: kind -> weight
    storeys: tuple[int, int]
    # Shapes
    facades: tuple[str, ...]
    walls: tuple[Rgb, ...]  # facade colours
    masonry: str  # texture of free-standing walls
    fence: str
    trees: tuple[str, ...]
    leaves: tuple[Rgb, ...]
    foliage: float  # strength of the leaves' texture
    cars: tuple[str, ...]
    paints: tuple[Rgb, ...]
    lamp_case: Rgb  # of traffic lights
    mast_arm: bool  # traffic lights hang over the road
    signs: tuple[str, ...]
    bus: tuple[Rgb, ...]
    train: tuple[Rgb, ...]
    # How many, on average
    trees_mean: float
    people_mean: float
    poles_mean: float
    traffic: float  # chance that a slot on the road holds a vehicle
    # Sensor
    blur: Range  # sigma in stored pixels
    sharpen: float
    noise: Range  # grey levels
    contrast: Range
    gains: tuple[float, float, float]
    saturation: float
    vignette: float
    hood: str  # outline of the ego car: "", "flat" or "round"


GTA5 = Style(
    focal=(0.78, 0.95), height=(1.3, 1.8), pitch=(-1.0, 4.0), yaw=4.0, roll=0.8,
    sun=(0.3, 0.6),
    sky_top=((70, 115, 175), (95, 130, 170), (120, 125, 140), (60, 90, 150)),
    sky_low=((190, 205, 215), (225, 200, 170), (180, 185, 190)),
    clouds=(0.0, 0.7), visibility=(150, 500),
    asphalt=((105, 100, 96), (92, 90, 90), (118, 110, 102), (80, 78, 80)),
    pavement=((168, 158, 144), (150, 145, 138), (180, 168, 150)),
    kerb=(190, 184, 172),
    grass=((120, 120, 62), (98, 112, 55), (140, 128, 78)),
    road_texture="cracks", pavement_texture="slabs", grain=1.0, centre_line=(205, 165, 50),
    lane=(3.2, 3.7), lanes=(1, 1, 2), pavement_width=(3.0, 5.5),
    strip=0.5, strip_width=(1.5, 5.0), parking=0.35, junction=0.45,
    frontage={"building": 6, "wall": 3.2, "fence": 3.6, "hedge": 0.8, "open": 1.2},
    storeys=(1, 14), facades=("brick", "glass", "stucco"),
    walls=((150, 90, 70), (170, 145, 115), (190, 175, 150), (120, 110, 105), (165, 120, 90)),
    masonry="blocks", fence="mesh", trees=("palm", "bush", "broad"),
    leaves=((70, 95, 40), (90, 108, 48), (58, 80, 42)), foliage=0.12,
    cars=("sedan", "coupe", "suv"),
    paints=((30, 30, 34), (200, 200, 200), (140, 30, 28), (50, 70, 110), (170, 150, 110),
            (90, 95, 98), (210, 170, 40)),
    lamp_case=(190, 150, 30), mast_arm=True, signs=("octagon", "limit", "diamond", "board"),
    bus=((205, 205, 200), (60, 110, 160), (215, 165, 40)),
    train=((175, 180, 185), (150, 60, 50), (190, 170, 120)),
    trees_mean=5, people_mean=5, poles_mean=5, traffic=0.5,
    blur=(0.0, 0.25), sharpen=0.5, noise=(0.5, 2.5), contrast=(1.05, 1.25),
    gains=(1.04, 1.0, 0.93), saturation=1.1, vignette=0.1, hood="round",
)  # fmt: skip

SYNTHIA = Style(
    focal=(0.7, 1.05), height=(1.4, 3.0), pitch=(0.0, 11.0), yaw=8.0, roll=1.0,
    sun=(0.15, 0.5),
    sky_top=((80, 130, 190), (130, 150, 175), (160, 170, 185)),
    sky_low=((200, 215, 230), (215, 215, 220)),
    clouds=(0.1, 0.9), visibility=(200, 600),
    asphalt=((74, 76, 84), (88, 88, 94), (64, 66, 72)),
    pavement=((120, 100, 92), (138, 128, 118), (108, 106, 112)),
    kerb=(150, 150, 150),
    grass=((90, 130, 60),),
    road_texture="speckle", pavement_texture="tiles", grain=1.5, centre_line=(225, 225, 225),
    lane=(3.0, 3.6), lanes=(1, 1, 2), pavement_width=(2.5, 5.5),
    strip=0.0, strip_width=(1.0, 2.0), parking=0.4, junction=0.35,
    frontage={"building": 6, "wall": 2.4, "fence": 2.6, "hedge": 1.2},
    storeys=(2, 8), facades=("grid", "plain"),
    walls=((185, 150, 95), (150, 85, 75), (120, 135, 150), (200, 190, 170), (110, 140, 110)),
    masonry="rough", fence="rails", trees=("cone", "ball"),
    leaves=((60, 115, 45), (85, 135, 60), (40, 90, 50)), foliage=0.0,
    cars=("compact", "sedan"),
    paints=((200, 30, 30), (30, 60, 170), (220, 220, 220), (40, 40, 40), (220, 190, 40),
            (60, 130, 70)),
    lamp_case=(60, 62, 66), mast_arm=False, signs=("ring", "triangle", "octagon", "arrow"),
    bus=((190, 40, 40), (60, 140, 90), (230, 200, 60)),
    train=((200, 200, 200),),
    trees_mean=4, people_mean=6, poles_mean=4.5, traffic=0.5,
    blur=(0.0, 0.15), sharpen=0.0, noise=(0.0, 1.0), contrast=(0.95, 1.15),
    gains=(1.0, 1.0, 1.02), saturation=1.1, vignette=0.0, hood="",
)  # fmt: skip

CITYSCAPES = Style(
    focal=(0.9, 1.0), height=(1.2, 1.3), pitch=(1.0, 3.0), yaw=2.5, roll=0.4,
    sun=(0.05, 0.25),
    sky_top=((205, 212, 215), (190, 202, 212), (215, 215, 212)),
    sky_low=((232, 234, 232), (225, 230, 232)),
    clouds=(0.0, 0.3), visibility=(110, 260),
    asphalt=((82, 86, 84), (92, 94, 92), (74, 78, 78)),
    pavement=((132, 128, 122), (122, 122, 118), (140, 132, 126)),
    kerb=(158, 156, 150),
    grass=((92, 112, 66), (80, 100, 60), (108, 112, 72)),
    road_texture="smooth", pavement_texture="pavers", grain=0.5, centre_line=(200, 202, 200),
    lane=(2.9, 3.3), lanes=(1, 1, 1, 2), pavement_width=(2.5, 4.5),
    strip=0.5, strip_width=(1.5, 4.0), parking=0.35, junction=0.3,
    frontage={"building": 6.5, "wall": 3.0, "fence": 3.4, "hedge": 1.0, "open": 1.0},
    storeys=(2, 5), facades=("plaster", "gable"),
    walls=((158, 148, 128), (140, 128, 112), (170, 166, 156), (128, 118, 112), (150, 122, 100),
           (122, 126, 124)),
    masonry="stones", fence="bars", trees=("broad", "tall", "bush"),
    leaves=((62, 82, 52), (74, 92, 58), (52, 70, 48), (88, 96, 62)), foliage=0.28,
    cars=("hatch", "hatch", "estate", "estate", "van"),
    paints=((38, 40, 42), (150, 154, 156), (200, 202, 202), (36, 46, 74), (92, 30, 32),
            (88, 92, 94), (60, 64, 62)),
    lamp_case=(28, 30, 30), mast_arm=False, signs=("ring", "triangle", "priority", "arrow"),
    bus=((205, 206, 200), (180, 150, 50), (150, 50, 48)),
    train=((200, 190, 120), (170, 52, 50), (196, 200, 200)),
    trees_mean=5, people_mean=5, poles_mean=5, traffic=0.45,
    blur=(0.4, 0.6), sharpen=0.0, noise=(1.5, 3.5), contrast=(0.88, 1.02),
    gains=(0.98, 1.01, 0.99), saturation=0.8, vignette=0.18, hood="flat",
)  # fmt: skip

STYLES = {"gta5": GTA5, "synthia": SYNTHIA, "cityscapes": CITYSCAPES}
