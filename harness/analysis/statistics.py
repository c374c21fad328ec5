"""Statistics over seeds: means, intervals, tests, aggregates. Pure functions on plain numbers.

A run's seed is its unit: pixels and images of one run are not independent of one another, so an
interval is over seeds (Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks,
MLSys 2021; Colas et al., How Many Random Seeds?, arXiv:1806.08295).

Which test is fixed here, by sizes alone and never by what it would say (docs/statistics.md has the
simulations behind the numbers):

- n < PAIRED_FROM seeds and POOLED_FROM rows or more: Student's t with one variance of all rows, or,
  where both have APART_FROM degrees of freedom, with one of the baseline's rows and one of the
  methods', as Welch's;
- n < PAIRED_FROM seeds, fewer rows: Welch's t;
- PAIRED_FROM seeds or more: paired where the seeds are the same, else Welch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

CONFIDENCE = 0.95
POWER = 0.8
NAN = math.nan
#: Seeds from which pairing is worth the half of the degrees of freedom that it costs: at the
#: correlation of 0.15 over seeds that the published runs have, the interval is narrower from here.
PAIRED_FROM = 10
#: Rows from which their common variance replaces the two of a comparison.
POOLED_FROM = 4
#: Degrees of freedom from which the baseline has a variance of its own: a noisier one would make
#: every interval of its table too narrow.
APART_FROM = 8

Test = Literal["pooled t", "Welch t", "paired t", ""]


@dataclass(frozen=True)
class Summary:
    """A sample's mean and what is known of it; NaN where n is too small to know."""

    mean: float
    sd: float  # with n - 1
    n: int
    low: float  # 95 % interval of the mean
    high: float


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a single run that the rows of a table share."""

    sd: float
    freedom: int  # its degrees of freedom
    rows: int


@dataclass(frozen=True)
class Deviations:
    """The noise of a table's rows: one object for both where it is not known apart."""

    methods: Noise
    baseline: Noise


@dataclass(frozen=True)
class Difference:
    """A mean difference a - b, its own 95 % interval and the two-sided p-value of no difference."""

    mean: float
    low: float
    high: float
    p: float
    n: int  # the smaller sample
    test: Test  # "": too few values for any
    p_holm: float = NAN  # p corrected over its table; NaN: not among those corrected
    tested: bool = True  # False: of too few seeds for its table to test it, whatever its p
    lasts: bool = True  # False: not beyond chance at every length of the schedule that was run

    @property
    def significant(self) -> bool:
        """Beyond chance, and it lasts."""
        return self.lasts and self.told_here

    @property
    def told_here(self) -> bool:
        """Beyond chance in its table at this length, or alone where it was corrected over none."""
        p = self.p if math.isnan(self.p_holm) else self.p_holm
        return self.tested and p < 1 - CONFIDENCE  # False for NaN


def summary(values: Iterable[float]) -> Summary:
    """Mean, sample standard deviation and Student's t interval (Student, Biometrika 1908)."""
    sample = [float(value) for value in values]
    n = len(sample)
    mean = fmean(sample) if n else NAN
    if n < 2:
        return Summary(mean, NAN, n, NAN, NAN)
    sd = stdev(sample) if math.isfinite(mean) else NAN  # of a NaN, stdev raises
    half = _quantile(n - 1) * sd / math.sqrt(n)
    return Summary(mean, sd, n, mean - half, mean + half)


def noise(samples: Iterable[Iterable[float]]) -> Noise | None:
    """Pool the variance within samples, by their degrees of freedom; None where none has two."""
    known = [s for s in map(summary, samples) if s.n > 1 and math.isfinite(s.sd)]
    freedom = sum(s.n - 1 for s in known)
    if not freedom:
        return None
    variance = sum(s.sd**2 * (s.n - 1) for s in known) / freedom
    return Noise(math.sqrt(variance), freedom, len(known))


def deviations(
    methods: Sequence[Iterable[float]], baseline: Sequence[Iterable[float]]
) -> Deviations | None:
    """Of a table's rows; None where no row has two values."""
    of_methods, of_baseline = noise(methods), noise(baseline)
    if of_methods and of_baseline and min(of_methods.freedom, of_baseline.freedom) >= APART_FROM:
        return Deviations(of_methods, of_baseline)
    together = noise([*methods, *baseline])
    return Deviations(together, together) if together else None


def noise_within_blocks(
    samples: Sequence[Mapping[str, float]], independent: int | None = None
) -> Noise | None:
    """What is left of samples over the same keys once a mean for each key is taken out.

    The residual of a two-way table without replication (Fisher, Statistical Methods, 1925).
    `independent` is how many of the samples are, where some deviate alike: it counts as freedom.
    """
    independent = len(samples) if independent is None else independent
    if independent < 2 or len(samples[0]) < 2:
        return None
    means = {key: fmean(sample[key] for sample in samples) for key in samples[0]}
    rest = [[sample[key] - means[key] for key in means] for sample in samples]
    squares = sum((value - fmean(row)) ** 2 for row in rest for value in row)
    variance = squares / ((len(samples) - 1) * (len(means) - 1))
    return Noise(math.sqrt(variance), (independent - 1) * (len(means) - 1), len(samples))


def difference(
    a: Mapping[int, float],
    b: Mapping[int, float],
    of_a: Noise | None = None,
    of_b: Noise | None = None,
) -> Difference:
    """Compare two methods, each a mapping seed -> score, by the test that their sizes ask for.

    `of_a` and `of_b` are the noise of the rows that each is one of, one object where one estimate
    serves both. Equal seeds share data order
    and initial weights, so they may be paired (Dietterich, Neural Computation 1998).
    """
    n = min(len(a), len(b))
    if n >= PAIRED_FROM and a.keys() == b.keys():
        return _paired([a[seed] - b[seed] for seed in sorted(a)])
    if n and n < PAIRED_FROM and of_a and of_b and (of_a is not of_b or of_a.rows >= POOLED_FROM):
        return pooled_difference(fmean(a.values()) - fmean(b.values()), len(a), len(b), of_a, of_b)
    return _welch(summary(a.values()), summary(b.values()))


def pooled_difference(mean: float, n_a: int, n_b: int, of_a: Noise, of_b: Noise) -> Difference:
    """A difference of two means of n_a and n_b values, with the noise of the rows of each."""
    error, freedom = _error(n_a, n_b, of_a, of_b)
    return _difference(mean, error, freedom, min(n_a, n_b), "pooled t")


def _error(n_a: int, n_b: int, of_a: Noise, of_b: Noise) -> tuple[float, float]:
    """Of a difference of two means, and its degrees of freedom."""
    if of_a is of_b:
        return of_a.sd * math.sqrt(1 / n_a + 1 / n_b), of_a.freedom
    return _unequal(of_a.sd**2 / n_a, of_b.sd**2 / n_b, of_a.freedom, of_b.freedom)


def _unequal(
    variance_a: float, variance_b: float, freedom_a: float, freedom_b: float
) -> tuple[float, float]:
    """Error and degrees of freedom of a difference of means of unequal variances.

    Welch, Biometrika 1947.
    """
    spread = variance_a**2 / freedom_a + variance_b**2 / freedom_b
    freedom = (variance_a + variance_b) ** 2 / spread if spread else freedom_a + freedom_b
    return math.sqrt(variance_a + variance_b), freedom


def _paired(differences: list[float]) -> Difference:
    s = summary(differences)
    return _difference(s.mean, s.sd / math.sqrt(s.n), s.n - 1, s.n, "paired t")


def _welch(a: Summary, b: Summary) -> Difference:
    mean, n = a.mean - b.mean, min(a.n, b.n)
    if n < 2:
        return Difference(mean, NAN, NAN, NAN, n, "")
    error, freedom = _unequal(a.sd**2 / a.n, b.sd**2 / b.n, a.n - 1, b.n - 1)
    return _difference(mean, error, freedom, n, "Welch t")


def _difference(mean: float, error: float, freedom: float, n: int, test: Test) -> Difference:
    half = _quantile(freedom) * error
    return Difference(mean, mean - half, mean + half, _p_value(mean, error, freedom), n, test)


def corrected(differences: Sequence[Difference | None], least_n: int) -> list[Difference | None]:
    """Holm's p over those of n >= least_n (Holm, Scandinavian Journal of Statistics 1979).

    The others are told from nothing.
    """
    tested = [d is not None and d.n >= least_n and math.isfinite(d.p) for d in differences]
    adjusted = iter(holm([d.p for d, is_tested in zip(differences, tested, strict=True)
                          if d and is_tested]))  # fmt: skip
    return [
        replace(d, p_holm=next(adjusted) if is_tested else NAN, tested=is_tested) if d else None
        for d, is_tested in zip(differences, tested, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: those below 0.05 hold together at 0.05."""
    adjusted = [NAN] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def smallest_difference(of_a: Noise, of_b: Noise, n: int, comparisons: int = 1) -> float:
    """The true difference that n seeds each find with 80 % power, at Holm's first, hardest step.

    With fewer rows than POOLED_FROM the test has 2n - 2 degrees of freedom at most; from
    PAIRED_FROM seeds on n - 1, paired, and what pairing takes from the error is not counted.
    """
    from scipy.special import nctdtrinc

    if n < 2:
        return NAN
    error, freedom = _error(n, n, of_a, of_b)
    if n >= PAIRED_FROM:
        freedom = min(freedom, n - 1)
    elif of_a is of_b and of_a.rows < POOLED_FROM:
        freedom = min(freedom, 2 * n - 2)
    if not error:
        return 0.0
    return float(nctdtrinc(freedom, 1 - POWER, _quantile(freedom, comparisons))) * error


def interquartile_mean(values: Iterable[float]) -> float:
    """Mean without the lowest and the highest quarter of the values, each rounded down.

    Agarwal et al., Deep RL at the Edge of the Statistical Precipice, NeurIPS 2021 (rliable).
    """
    ordered = sorted(values)
    cut = len(ordered) // 4
    return fmean(ordered[cut : len(ordered) - cut]) if ordered else NAN


def probability_of_improvement(pairs: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Share of pairs of runs (a, b) with a above b, ties half, averaged over tasks (rliable)."""
    by_task = [fmean((a > b) + (a == b) / 2 for a in of_a for b in of_b) for of_a, of_b in pairs]
    return fmean(by_task) if by_task else NAN


def _quantile(freedom: float, comparisons: int = 1) -> float:
    from scipy.special import stdtrit  # not scipy.stats, which takes a second to import

    return float(-stdtrit(freedom, (1 - CONFIDENCE) / 2 / comparisons))


def _p_value(mean: float, error: float, freedom: float) -> float:
    from scipy.special import stdtr

    if error == 0:  # no spread at all: scipy's own tests return NaN here
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(freedom, -abs(mean) / error))
