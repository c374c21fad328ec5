import math

import pytest
from scipy import stats as scipy_stats

from harness.analysis.statistics import paired_difference, summary

A = {0: 26.2, 1: 25.9, 2: 27.5}
B = {0: 21.1, 1: 25.0, 2: 24.6}


def test_summary_is_the_textbooks():
    s = summary(B.values())
    low, high = scipy_stats.t.interval(0.95, 2, s.mean, scipy_stats.sem(list(B.values())))
    assert s.mean == pytest.approx(23.5667, abs=1e-4)
    assert s.sd == pytest.approx(2.1455, abs=1e-4)
    assert (s.n, s.low, s.high) == (3, pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([4.0], 4.0)])
def test_too_few_values_give_nan_not_a_false_zero(values, mean):
    s = summary(values)
    assert s.n == len(values)
    assert s.mean == pytest.approx(mean, nan_ok=True)
    assert all(math.isnan(x) for x in (s.sd, s.low, s.high))


def test_equal_seeds_are_paired_whatever_their_order():
    expected = scipy_stats.ttest_rel(list(A.values()), list(B.values()))
    low, high = expected.confidence_interval(0.95)
    d = paired_difference(A, dict(reversed(B.items())))
    assert d.paired
    assert (d.mean, d.p) == (pytest.approx(2.9667, abs=1e-4), pytest.approx(expected.pvalue))
    assert (d.low, d.high) == (pytest.approx(low), pytest.approx(high))
    assert not d.significant


def test_other_seeds_fall_back_to_welch():
    a = {**A, 3: 26.0}
    expected = scipy_stats.ttest_ind(list(a.values()), list(B.values()), equal_var=False)
    low, high = expected.confidence_interval(0.95)
    d = paired_difference(a, B)
    assert not d.paired
    assert (d.n, d.p) == (3, pytest.approx(expected.pvalue))
    assert (d.low, d.high) == (pytest.approx(low), pytest.approx(high))


def test_a_steady_difference_is_significant():
    assert paired_difference({0: 31, 1: 34.1, 2: 33}, {0: 26, 1: 29, 2: 28}).significant


def test_no_spread_at_all():
    assert paired_difference({0: 2, 1: 3}, {0: 1, 1: 2}).p == 0
    assert paired_difference({0: 2, 1: 3}, {0: 2, 1: 3}).p == 1
    assert paired_difference({0: 2, 1: 2}, {2: 1, 3: 1}).p == 0


@pytest.mark.parametrize("other", [{0: 1.0}, {1: 1.0}, {0: 1.0, 1: 2.0}])
def test_one_seed_says_nothing_of_significance(other):
    d = paired_difference({0: 3.0}, other)
    assert math.isnan(d.p)
    assert not d.significant
