"""`bench data verify` and `bench data stats` of a set of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench_cli import bench, refused
from real_formats import save_png

TEXT = """
[[layouts]]
places = [{ images = "images/{split}", labels = ["labels/{split}"] }]

[splits.train]

[splits.val]

[[encodings]]

[encodings.ids]
0 = "soil"
1 = "crop"
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A set whose val split alone has labels, and its file."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for i in range(2):
            save_png(Path(f"images/{split}/{i}.png"), np.full((8, 8, 3), 9, np.uint8))
            if split == "val":
                save_png(Path(f"labels/val/{i}.png"), np.eye(8, dtype=np.uint8))
    file = Path("mine.toml")
    file.write_text(TEXT)
    return file


def test_a_split_without_labels_is_said_to_need_labelled_false(mine):
    outcome = bench("data", "verify", "mine.toml")
    assert outcome.code == 2
    assert "no label of the train split is there" in outcome.out
    assert "say `labelled = false` under [splits.train]" in outcome.out
    mine.write_text(TEXT.replace("[splits.train]", "[splits.train]\nlabelled = false"))
    outcome = bench("data", "verify", "mine.toml")
    assert outcome.code == 0, outcome.out
    outcome = bench("data", "stats", "mine.toml")
    assert outcome.code == 0, outcome.err
    assert "mine val (2)" in outcome.out
    assert "mine train" not in outcome.out


def test_a_class_called_ignored_is_refused_in_one_line(mine):
    mine.write_text(TEXT.replace("soil", "ignored"))
    said = refused(bench("data", "verify", "mine.toml"))
    assert "write `ignored = [0]` under [[encodings]]" in said
    assert "pydantic" not in said
