"""Weights in and out (placeholder of the lead's: the full reader replaces this file)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from safetensors.torch import load_file, save_file

from methods.contract import Segmentor


def load_weights(
    segmentor: Segmentor,
    path: Path,
    *,
    part: Literal["encoder", "all"] = "all",
    which: Literal["student", "ema_teacher"] = "student",
) -> str:
    segmentor.load_state_dict(load_file(path))
    return "safetensors"


def save_weights(segmentor: Segmentor, path: Path, metadata: dict[str, str]) -> None:
    partial = path.with_suffix(".partial")
    save_file(segmentor.state_dict(), partial, metadata)
    partial.replace(path)
