"""`bench` as a user calls it, in this process, and settings that make a run take a second."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

IMAGES = {
    "gta5": (96, 56), "synthia": (96, 56), "cityscapes": (96, 48), "camvid": (64, 48),
    "acdc": (96, 54), "darkzurich": (96, 54),
}  # fmt: skip

SETTINGS = [
    "iterations=4",
    "teacher_iterations=3",
    "generated.source=6",
    "generated.target=6",
    "generated.val=2",
    *(f"image_size.{name}={list(size)}" for name, size in IMAGES.items()),
    "crop=32,64",
    "rcs_min_pixels=10",
    "warmup=1",
    "workers=0",
    "log_every=2",
]

#: Four steps on six images with the smallest network.
QUICK = ["--student", "test_mit", *(part for s in SETTINGS for part in ("--set", s))]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def bench(*arguments: str | Path) -> Outcome:
    """Run the command line; the exit code, and what it printed."""
    from harness.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["bench", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
    return Outcome(code, out.getvalue(), err.getvalue())


def refused(outcome: Outcome) -> str:
    """The one line that a user's error prints; exit code 2 and no traceback."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.out + outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("bench: ")
    return lines[0]
