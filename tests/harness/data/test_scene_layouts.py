"""Each set has streets, trees and a camera of its own, and the gap between sets can be set."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest

from harness.data.scenes import SIZES, adverse, draw_scene, fingerprint, ids, plants, writer
from harness.data.scenes.canvas import Projection
from harness.data.scenes.depth import DepthCanvas
from harness.data.scenes.styles import CITYSCAPES, GTA5, STYLES, SYNTHIA, Gap, style_of

SMALL = (96, 48)
SCENES = 8
SHIFTS = (0, 1, -1)


def things(name: str) -> np.ndarray:
    """Where people and vehicles are: (SCENES, H, W)."""
    scenes = [draw_scene(name, "train", index, size=SMALL) for index in range(SCENES)]
    return np.array([scene.label >= ids.PERSON for scene in scenes])


def agreement(ours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of each of our scenes (N, H, W) with each of the others': (N, N)."""
    both = (ours[:, None] & others[None]).sum((-2, -1))
    return both / np.maximum((ours[:, None] | others[None]).sum((-2, -1)), 1)


@pytest.mark.parametrize("alike", [False, True])
def test_no_two_sets_show_the_same_scene(alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all are drawn in one style, so that nothing but the streams tells them apart."""
    if alike:
        for name in STYLES:
            monkeypatch.setitem(STYLES, name, CITYSCAPES)
        for name in adverse.STYLES:
            monkeypatch.setitem(adverse.STYLES, name, adverse.STYLES["fog"])
    seen = {name: things(name) for name in SIZES}
    for ours, others in combinations(SIZES, 2):
        pairs = agreement(seen[ours], seen[others])
        near = np.stack([np.diagonal(np.roll(pairs, shift, 1)) for shift in SHIFTS])
        assert near.max() < 0.75, (ours, others)
        assert near.mean() < pairs.mean() + 0.08, (ours, others)


def plain() -> DepthCanvas:
    """An empty plain below a white sky, seen from 1.5 m."""
    canvas = DepthCanvas(Projection((192, 128), 120.0, 1.5, (0.0, 0.0, 0.0)), (0, 0, 0), 1e9)
    canvas.image[:] = 250
    canvas.label[:64] = ids.SKY
    return canvas


def tree(season: str, kind: str = "broad") -> DepthCanvas:
    canvas = plain()
    style = replace(CITYSCAPES, seasons={season: 1.0})
    plants.tree(canvas, style, np.random.default_rng(1), kind, 0.0, 12.0)
    return canvas


def test_a_bare_tree_is_branches_before_the_sky_and_a_whole_crown_to_its_label() -> None:
    canvas = tree("bare")
    crown = (canvas.label == ids.VEGETATION)[:64]
    painted = (canvas.image[:64] < 200).any(-1)
    assert 0.15 < painted[crown].mean() < 0.8
    assert not painted[~crown].any()
    depth = canvas.depth()[:64]
    assert np.isinf(depth[crown & ~painted]).mean() > 0.9
    assert depth[crown & painted].max() < 20


def test_leaves_are_green_or_of_autumn_and_evergreens_stay_green() -> None:
    def redness(canvas: DepthCanvas) -> float:
        red, green, _ = canvas.image[canvas.label == ids.VEGETATION].astype(float).mean(0)
        return float(red - green)

    assert redness(tree("green")) < 0 < redness(tree("autumn")) - 10
    assert redness(tree("autumn", "cone")) < 0


@pytest.mark.parametrize("name", list(STYLES))
def test_every_set_has_trees_of_each_season(name: str) -> None:
    share = STYLES[name].seasons["bare"] / sum(STYLES[name].seasons.values())
    assert 0.15 <= share <= 0.5
    assert set(STYLES[name].seasons) == {"green", "autumn", "bare"}


def test_the_gap_moves_numbers_and_shares_choices() -> None:
    rng = np.random.default_rng(0)
    shut = Gap(*[0.0] * len(asdict(Gap())))
    for name, style in (("gta5", GTA5), ("synthia", SYNTHIA)):
        assert style_of(name, rng, Gap()) == style
        closed = asdict(style_of(name, rng, shut))
        for field, value in asdict(CITYSCAPES).items():
            if isinstance(value, dict):  # weights keep the source's kinds, at nothing
                assert {k: v for k, v in closed[field].items() if v} == value
            else:
                assert closed[field] == value or np.allclose(closed[field], value), field
    half = [style_of("gta5", rng, replace(Gap(), camera=0.5, shapes=0.5)) for _ in range(40)]
    middle = [(a + b) / 2 for a, b in zip(GTA5.height, CITYSCAPES.height, strict=True)]
    assert half[0].height == pytest.approx(tuple(middle))
    assert {style.facades for style in half} == {GTA5.facades, CITYSCAPES.facades}
    assert {style.road_texture for style in half} == {GTA5.road_texture}


def test_the_gap_is_part_of_a_set_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("gta5", {"train": 1})
    monkeypatch.setattr(writer, "GAP", Gap(camera=0.5))
    assert fingerprint("gta5", {"train": 1}) != before
