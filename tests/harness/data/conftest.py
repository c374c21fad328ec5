from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.schema import Profile

#: The tests' own copies of the reference's outputs.
GOLDEN = Path(__file__).parents[2] / "data" / "golden"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def golden() -> Path:
    return GOLDEN


@pytest.fixture
def profile() -> Profile:
    """A profile that leaves pixels as they are: no resize, no augmentation."""
    return Profile(
        name="test",
        description="",
        image_size=dict.fromkeys(("gta5", "synthia", "cityscapes", "camvid"), (64, 48)),
        crop=(24, 32),
        batch_size=2,
        iterations=6,
        teacher_iterations=1,
        lr=1e-3,
        rcs_min_pixels=50,
        rcs_min_crop_ratio=0.2,
        workers=0,
        student="any",
    )
