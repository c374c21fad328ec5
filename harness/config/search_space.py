"""Knobs and their ranges, from a user's TOML file, for `bench search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from harness.config import catalogue
from harness.config.class_set import Strict
from harness.config.schema import CHANGE_NO_FIGURE
from harness.errors import BenchError, explain

#: Of a value drawn from a range: more would say nothing, and a command line would be unreadable.
DIGITS = 3


class Knob(Strict):
    """Which values a knob may take: numbers from low to high, whole ones where both are, or a list.

    In the file: `lr = {low = 1e-4, high = 1e-2, log = true}`, `mask_ratio = {choices = [0.5, 1]}`.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = Field(False, description="drawn evenly in its logarithm")
    choices: tuple[bool | int | float | str, ...] = ()

    @model_validator(mode="after")
    def _is_a_range_or_a_list(self) -> Knob:
        if self.choices:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("choices stand alone, without low, high and log")
            if len(set(self.choices)) < 2:
                raise ValueError("choices: two different values at least expected")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError("expected low and high, low below high, or choices")
        elif self.log and self.low <= 0:
            raise ValueError("log: expected low above 0")
        return self

    @property
    def ends(self) -> tuple[int | float, int | float]:
        """Of a range."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    @property
    def whole(self) -> bool:
        """Whether the numbers of the range are whole ones."""
        return all(isinstance(end, int) for end in self.ends)

    @property
    def samples(self) -> list[Any]:
        """Values by which a method's own checks are asked: all choices, or ends and one between."""
        if self.choices:
            return list(self.choices)
        low, high = self.ends
        return [low, high, self.rounded(low + (high - low) * 0.382)]

    def holds(self, value: Any) -> bool:
        """Whether a trial could have that value."""
        if self.choices:
            return value in self.choices
        low, high = self.ends
        number = isinstance(value, int | float) and low <= value <= high
        return number and self.rounded(value) == value

    def rounded(self, value: Any) -> Any:
        """A drawn value as a run gets it: of DIGITS digits, within the range."""
        if self.choices:
            return value
        low, high = self.ends
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(map(spelled, self.choices))
        return f"{self.low} to {self.high}{' (log)' if self.log else ''}"


Space = dict[str, Knob]


def spelled(value: Any) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def read_space(path: Path) -> Space:
    """The knobs of a file. BenchError for one that is none, and for a knob that changes nothing."""
    values = catalogue.read_toml(path)
    if not values:
        raise BenchError(
            f"{path}: no knob found; expected a line a knob, such as "
            "lr = {low = 1e-4, high = 1e-2, log = true}."
        )
    space = {}
    for name, value in values.items():
        if name in CHANGE_NO_FIGURE:
            raise BenchError(f"{path}, {name}: it changes no figure; expected a knob that does.")
        if not isinstance(value, dict):
            raise BenchError(
                f"{path}, {name}: {spelled(value)} found, a range or choices expected, such as "
                f"{name} = {{choices = [...]}}; what is the same in every run goes to --set."
            )
        try:
            space[name] = Knob.model_validate(value)
        except ValidationError as error:
            raise BenchError(f"{path}, {name}: {explain(error, Knob.model_fields)}.") from error
    return space
