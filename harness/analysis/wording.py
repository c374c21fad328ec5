"""Differences in words: points, interval, n. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.analysis.statistics import Difference

MARK = "~"  # as in tables: it cannot be told from chance


def joined(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def signed(points: float) -> str:
    """With its sign; what rounds to nothing is +0.0."""
    return f"{round(points, 1) + 0.0:+.1f}"


def interval(one: Difference) -> str:
    """Of 95 %, with the mark behind it where the difference is not told from chance."""
    return f"[{one.low:.1f}, {one.high:.1f}]{'' if one.significant else f' {MARK}'}"


def sizes(differences: Iterable[Difference]) -> str:
    """`n = 3 seeds`, `n = 3 to 5 seeds; ~: not told from chance`: what a sentence rests on."""
    each = list(differences)
    counts = sorted({one.n for one in each})
    n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    marked = any(not one.significant for one in each)
    return f"n = {n} seeds{f'; {MARK}: not told from chance' if marked else ''}"
