"""Statistics over seeds: means, intervals, significance. Pure functions on plain numbers.

A run's seed is its unit: pixels and images of one run are not independent of one another, so an
interval is over seeds (Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks,
MLSys 2021; Colas et al., How Many Random Seeds?, arXiv:1806.08295).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95
NAN = math.nan


@dataclass(frozen=True)
class Summary:
    """A sample's mean and what is known of it; NaN where n is too small to know."""

    mean: float
    sd: float  # with n - 1
    n: int
    low: float  # 95 % interval of the mean
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean difference a - b, its 95 % interval and the two-sided p-value of no difference."""

    mean: float
    low: float
    high: float
    p: float
    n: int  # pairs, or the smaller sample
    paired: bool

    @property
    def significant(self) -> bool:
        return self.p < 1 - CONFIDENCE  # False for NaN


def summary(values: Iterable[float]) -> Summary:
    """Mean, sample standard deviation and Student's t interval (Student, Biometrika 1908)."""
    sample = [float(value) for value in values]
    n = len(sample)
    mean = fmean(sample) if n else NAN
    if n < 2:
        return Summary(mean, NAN, n, NAN, NAN)
    sd = stdev(sample)
    half = _half_width(sd / math.sqrt(n), n - 1)
    return Summary(mean, sd, n, mean - half, mean + half)


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """Compare two methods, each a mapping seed -> score.

    Equal seeds share data order and initial weights, so the paired t-test applies (Dietterich,
    Neural Computation 1998). Other seeds: Welch's unequal-variance test (Welch, Biometrika 1947).
    """
    if a.keys() == b.keys():
        return _paired([a[seed] - b[seed] for seed in sorted(a)])
    return _welch(summary(a.values()), summary(b.values()))


def _paired(differences: list[float]) -> Difference:
    s = summary(differences)
    p = _p_value(s.mean, s.sd / math.sqrt(s.n), s.n - 1) if s.n > 1 else NAN
    return Difference(s.mean, s.low, s.high, p, s.n, paired=True)


def _welch(a: Summary, b: Summary) -> Difference:
    mean, n = a.mean - b.mean, min(a.n, b.n)
    if n < 2:
        return Difference(mean, NAN, NAN, NAN, n, paired=False)
    variance_a, variance_b = a.sd**2 / a.n, b.sd**2 / b.n
    error = math.sqrt(variance_a + variance_b)
    spread = variance_a**2 / (a.n - 1) + variance_b**2 / (b.n - 1)
    freedom = (variance_a + variance_b) ** 2 / spread if spread else a.n + b.n - 2
    half = _half_width(error, freedom)
    return Difference(mean, mean - half, mean + half, _p_value(mean, error, freedom), n, False)


def _half_width(error: float, freedom: float) -> float:
    from scipy.stats import t  # here: scipy.stats takes a second to import

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error


def _p_value(mean: float, error: float, freedom: float) -> float:
    from scipy.stats import t

    if error == 0:  # no spread at all: scipy's own tests return NaN here
        return 1.0 if mean == 0 else 0.0
    return float(2 * t.sf(abs(mean) / error, freedom))
