"""Palette files whose indices are ids, and those whose colours were numbered file by file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from real_formats import save_png

from harness.config import catalogue
from harness.data.describe import describe
from harness.data.verify import verify
from harness.errors import DataError

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def described(tmp_path, monkeypatch):
    """A set whose labels are palette files, one a palette -> what describes it."""
    monkeypatch.setattr(catalogue, "_OWN_DATA_SETS", {})

    def of(suffix: str, *palettes: tuple[tuple[int, int, int], ...]):
        for i, palette in enumerate(palettes):
            save_png(tmp_path / f"images/{i}.png", np.full((8, 8, 3), 9, np.uint8))
            label = Image.fromarray(np.arange(8, dtype=np.uint8)[None].repeat(8, 0) // 4, "P")
            label.putpalette([level for colour in palette for level in colour])
            (tmp_path / "labels").mkdir(exist_ok=True)
            label.save(tmp_path / f"labels/{i}{suffix}")
        return lambda: describe("mine", tmp_path / "images", tmp_path / "labels", tmp_path)

    return of


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_index_of_two_colours_is_no_id(described, suffix):
    new = described(suffix, (RED, BLUE), (BLUE, RED))
    said = r"index 0 is the colour ff0000 in 0.* and 0000ff in 1.*; expected one palette.*colours"
    with pytest.raises(DataError, match=said):
        new()


def test_palettes_that_differ_in_what_no_pixel_has_are_one(described, tmp_path):
    described(".png", (RED, BLUE), (RED, BLUE, RED))()
    catalogue.use_data_sets({"mine": catalogue.own_data_set(tmp_path / "mine.toml")})
    assert verify("mine", tmp_path) == []
    described(".png", (RED, BLUE), (BLUE, RED))
    (problem,) = verify("mine", tmp_path)
    assert "index 0 is the colour" in problem.found
    assert problem.fatal
