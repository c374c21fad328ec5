"""Figures from the literature: shown next to ours with their source, never mixed with them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from harness.config.catalogue import BENCHMARKS
from harness.errors import BenchError
from harness.files import read_json

PATH = BENCHMARKS / "published.json"


class Figure(BaseModel):
    """One published mIoU, in percent, with where it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    network: str
    scenario: str
    miou: float
    sd: float | None
    classes: int | None  # over how many the mean is; None: its source does not say
    iou: dict[str, float] | None
    role: Literal["published", "reproduction", "oracle"]
    note: str
    source: str


def published(scenario: str, path: Path = PATH) -> list[Figure]:
    """The published figures of a scenario, by method, network and classes.

    A source's key is replaced by its title and address. BenchError without the file.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{path}: published figures expected ({error}); install uda-bench again."
        ) from None
    sources = {key: _cite(source) for key, source in content["sources"].items()}
    figures = [
        Figure(**{**item, "source": sources[item["source"]]})
        for item in content["results"]
        if item["scenario"] == scenario
    ]
    return sorted(figures, key=lambda f: (f.method, f.network, f.classes or 0, f.miou))


def _cite(source: dict[str, str]) -> str:
    """Title and address; where no address is known, the file repeats the title there."""
    address = source["address"]
    return f"{source['title']}, {address}" if "://" in address else source["title"]
