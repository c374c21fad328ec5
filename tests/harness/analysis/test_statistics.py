import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.analysis.statistics import (
    PAIRED_FROM,
    Difference,
    Noise,
    corrected,
    deviations,
    difference,
    holm,
    interquartile_mean,
    noise,
    noise_within_blocks,
    probability_of_improvement,
    summary,
)

A = {0: 26.2, 1: 25.9, 2: 27.5}
B = {0: 21.1, 1: 25.0, 2: 24.6}
TEN_A = {seed: 30 + seed % 3 + 0.1 * seed for seed in range(PAIRED_FROM)}
TEN_B = {seed: 29 + seed % 3 + 0.2 * (seed % 2) for seed in range(PAIRED_FROM)}
FOUR_ROWS = Noise(sd=1.5, freedom=8, rows=4)


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


def test_few_seeds_in_a_table_of_few_rows_are_compared_by_welchs_test():
    expected = scipy_stats.ttest_ind(list(A.values()), list(B.values()), equal_var=False)
    low, high = expected.confidence_interval(0.95)
    three_rows = replace(FOUR_ROWS, rows=3)
    d = difference(A, B, three_rows, three_rows)
    assert (d.test, d.n, d.p) == ("Welch t", 3, pytest.approx(expected.pvalue))
    assert (d.low, d.high) == (pytest.approx(low), pytest.approx(high))


def test_few_seeds_in_a_table_of_more_rows_share_its_variance():
    d = difference(A, B, FOUR_ROWS, FOUR_ROWS)
    error = 1.5 * math.sqrt(2 / 3)
    low, high = scipy_stats.t.interval(0.95, 8, d.mean, error)
    assert (d.test, d.mean) == ("pooled t", pytest.approx(2.9667, abs=1e-4))
    assert d.p == pytest.approx(2 * scipy_stats.t.sf(d.mean / error, 8))
    assert (d.low, d.high) == (pytest.approx(low), pytest.approx(high))


def test_a_baseline_of_many_runs_has_a_variance_of_its_own():
    """Welch's error and degrees of freedom, by hand."""
    of_baseline = Noise(sd=3.0, freedom=10, rows=3)
    d = difference(A, B, FOUR_ROWS, of_baseline)
    parts = 1.5**2 / 3, 3.0**2 / 3
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 8 + parts[1] ** 2 / 10)
    low, high = scipy_stats.t.interval(0.95, freedom, d.mean, math.sqrt(sum(parts)))
    assert d.test == "pooled t"
    assert (d.low, d.high) == (pytest.approx(low), pytest.approx(high))


def test_methods_and_baseline_are_pooled_apart_where_both_are_known_well():
    methods = [[1.0, 2.0, 4.0]] * 4
    few, many = [[1.0, 5.0, 3.0]] * 3, [[1.0, 5.0, 3.0]] * 4
    apart, together = deviations(methods, many), deviations(methods, few)
    assert (apart.methods, apart.baseline) == (noise(methods), noise(many))
    assert together.methods is together.baseline
    assert together.methods == noise([*methods, *few])
    assert deviations([[1.0]], []) is None


def test_many_equal_seeds_are_paired_whatever_their_order():
    expected = scipy_stats.ttest_rel(list(TEN_A.values()), list(TEN_B.values()))
    d = difference(TEN_A, dict(reversed(TEN_B.items())), FOUR_ROWS, FOUR_ROWS)
    assert (d.test, d.p) == ("paired t", pytest.approx(expected.pvalue))


def test_many_seeds_that_differ_are_compared_by_welchs_test():
    other = {seed + 1: score for seed, score in TEN_B.items()}
    assert difference(TEN_A, other, FOUR_ROWS, FOUR_ROWS).test == "Welch t"


def test_no_spread_at_all():
    assert difference({0: 2, 1: 2}, {0: 1, 1: 1}).p == 0
    assert difference({0: 2, 1: 2}, {0: 2, 1: 2}).p == 1


@pytest.mark.parametrize("other", [{0: 1.0}, {1: 1.0}, {0: 1.0, 1: 2.0}])
def test_one_seed_says_nothing_of_significance(other):
    d = difference({0: 3.0}, other)
    assert math.isnan(d.p)
    assert not d.significant


def test_noise_is_the_one_way_tables_mean_square():
    rows = [list(A.values()), list(B.values()), [20.0, 22.0, 21.0, 25.0]]
    squares = sum(np.var(row) * len(row) for row in rows)
    shared = noise([*rows, [7.0]])
    assert (shared.freedom, shared.rows) == (7, 3)
    assert shared.sd == pytest.approx(math.sqrt(squares / 7))


def test_a_row_that_is_no_number_leaves_the_others_their_noise():
    assert noise([[1.0, 2.0], [math.nan, 3.0]]) == noise([[1.0, 2.0]])


def test_noise_within_blocks_is_what_no_block_explains():
    """Of two rows: the paired t-test's error."""
    a, b = {"x": 30.0, "y": 41.0, "z": 50.0}, {"x": 28.0, "y": 40.0, "z": 47.0}
    left = noise_within_blocks([a, b])
    paired = scipy_stats.sem([a[key] - b[key] for key in a])
    assert left.freedom == 2
    assert left.sd * math.sqrt(2 / 3) == pytest.approx(paired)


def test_samples_that_deviate_alike_count_once_as_freedom():
    a, b = {"x": 30.0, "y": 41.0}, {"x": 28.0, "y": 40.0}
    left = noise_within_blocks([a, a, b, b], independent=2)
    assert left.freedom == 1
    assert left.sd == noise_within_blocks([a, a, b, b]).sd


def test_holm_is_the_papers():
    """statsmodels' multipletests(method="holm") of the same values."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_has_too_few_seeds_to_be_tested_is_told_from_nothing():
    few = Difference(9.0, 8.0, 10.0, 0.001, 2, "pooled t")
    assert few.significant  # alone, as `bench compare` has it
    (in_a_table,) = corrected([few], 3)
    assert not in_a_table.significant
    assert math.isnan(in_a_table.p_holm)


def test_p_is_corrected_over_those_with_seeds_enough():
    many, few = (
        difference(A, B, FOUR_ROWS, FOUR_ROWS),
        difference({0: 29.0, 1: 29.0}, B, FOUR_ROWS, FOUR_ROWS),
    )
    first, missing, second, third = corrected([many, None, few, many], 3)
    assert missing is None
    assert first.p_holm == third.p_holm == pytest.approx(2 * many.p)
    assert math.isnan(second.p_holm)


def test_interquartile_mean_leaves_out_a_quarter_at_either_end():
    """rliable: scipy.stats.trim_mean(scores, proportiontocut=0.25)."""
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    assert interquartile_mean(values) == pytest.approx(scipy_stats.trim_mean(values, 0.25))


def test_probability_of_improvement_is_the_mean_of_mann_whitneys():
    tasks = [([3.0, 2.0, 5.0], [2.0, 1.0]), ([1.0, 1.0], [1.0, 4.0, 0.5])]
    shares = [scipy_stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in tasks]
    assert probability_of_improvement(tasks) == pytest.approx(np.mean(shares))
