"""How a figure is written in a cell of a table."""

from __future__ import annotations

import math

from harness.analysis.rows import Row
from harness.analysis.statistics import Difference, Summary

NONE = "-"
#: Decimals of scores in percent, unless --precision asks for others.
PRECISION = 1


def number(value: float | None, style: str = ".3g") -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.0f}" if style == ".3g" and abs(value) >= 100 else format(value, style)


def spread(value: Summary | None, style: str = ".1f") -> str:
    """mean ± sd (n); no sd from one seed."""
    if value is None or not value.n or not math.isfinite(value.mean):
        return NONE
    sd = f" ± {value.sd:{style}}" if math.isfinite(value.sd) else ""
    return f"{number(value.mean, style)}{sd} ({value.n})"


def difference_text(value: Difference | None, precision: int = PRECISION) -> str:
    """Signed points, and where there is one their interval, with `~` unless told from chance."""
    if value is None:
        return NONE
    interval = ""
    if math.isfinite(value.low):
        mark = "" if value.significant else " ~"
        interval = f" [{value.low:.{precision}f}, {value.high:.{precision}f}]{mark}"
    return f"{round(value.mean, precision) + 0.0:+.{precision}f}{interval}"


def gain_at_seconds_text(row: Row, precision: int = PRECISION) -> str:
    """Said where even the longest source-only trained for less."""
    text = difference_text(row.gain_at_seconds, precision=precision)
    return f"{text} beyond x{row.gain_beyond}" if row.gain_beyond and text != NONE else text
