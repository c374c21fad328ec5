"""False marks, coverage and power of a table's gains, by simulation with made-up scores.

A table of 13 rows and 3 seeds: a run's deviation is 1.6 points and seeds correlate by 0.15 over
methods, as in the published records.
"""

import math

import numpy as np
import pytest

from harness.analysis.statistics import (
    Noise,
    corrected,
    deviations,
    difference,
    noise,
    smallest_difference,
)

ROWS, SEEDS, SD, CORRELATION, TABLES = 13, 3, 1.6, 0.15, 6000


def tables(deviations=None, rows=ROWS, seed=0):
    """Scores (tables, rows, seeds) of methods that do not differ; row 0 is the baseline."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((TABLES, rows, SEEDS)) * math.sqrt(1 - CORRELATION)
    common = rng.standard_normal((TABLES, 1, SEEDS)) * math.sqrt(CORRELATION)
    return SD * ((own + common) * (deviations(rng, rows) if deviations else 1))


def pooled(scores):
    """Gains (tables, rows - 1), their error and its degrees of freedom, as `difference` has it."""
    error = np.sqrt(scores.var(axis=2, ddof=1).mean(axis=1) * 2 / SEEDS)
    means = scores.mean(axis=2)
    return means[:, 1:] - means[:, :1], error[:, None], scores.shape[1] * (SEEDS - 1)


def p_values(gain, error, freedom):
    from scipy.stats import t

    return 2 * t.sf(np.abs(gain) / error, freedom)


def share_with_a_mark(p):
    """Of tables: Holm marks anything where its smallest p passes the first step."""
    return (p.min(axis=1) * p.shape[1] < 0.05).mean()


def unequal(rng, rows):
    """Deviations of rows that differ by up to four times."""
    return np.exp(rng.uniform(math.log(0.5), math.log(2), (TABLES, rows, 1)))


def test_the_simulation_computes_what_the_module_does():
    scores = tables()[0]
    samples = [dict(enumerate(row)) for row in scores]
    shared = noise(sample.values() for sample in samples)
    gains = [difference(sample, samples[0], shared, shared) for sample in samples[1:]]
    assert [gain.p for gain in gains] == pytest.approx(p_values(*pooled(tables()[:1]))[0])
    marked = any(gain.significant for gain in corrected(gains, 3))
    assert marked == bool(share_with_a_mark(p_values(*pooled(tables()[:1]))))


@pytest.mark.parametrize(
    ("deviations", "most"), [(None, 0.05), (unequal, 0.06)], ids=["equal", "unequal"]
)
def test_a_table_of_equal_methods_has_a_mark_in_five_percent_at_most(deviations, most):
    error = math.sqrt(most * (1 - most) / TABLES)
    assert share_with_a_mark(p_values(*pooled(tables(deviations)))) <= most + 2 * error


def test_without_correction_a_false_mark_is_frequent():
    p = p_values(*pooled(tables()))
    assert (p < 0.05).any(axis=1).mean() > 0.2


@pytest.mark.parametrize("rows", [4, ROWS])
@pytest.mark.parametrize("deviations", [None, unequal], ids=["equal", "unequal"])
def test_intervals_hold_the_truth_in_95_percent(rows, deviations):
    from scipy.stats import t

    gain, error, freedom = pooled(tables(deviations, rows))
    covered = (np.abs(gain) <= t.ppf(0.975, freedom) * error).mean()
    assert 0.945 <= covered <= 0.975  # above 0.95: seeds correlate, and the test does not use it


#: Source-only at four lengths and methods at two of them, as the second edition has them.
FLOORS, METHODS, AT = (3, 5, 5, 3), (3,) * 14 + (5,) * 6, (1,) * 7 + (2,) * 7 + (1,) * 3 + (2,) * 3


def noisier_baseline(factor, seed=2):
    """Scores (tables, seeds) of each baseline row, so much noisier, and of each method's row."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((TABLES, 5)) * math.sqrt(CORRELATION)
    own = [rng.standard_normal((TABLES, n)) * math.sqrt(1 - CORRELATION) for n in FLOORS + METHODS]
    scores = [SD * (one + common[:, : one.shape[1]]) for one in own]
    return [factor * one for one in scores[: len(FLOORS)]], scores[len(FLOORS) :]


def variance(rows):
    """Pooled over rows, by table, and its degrees of freedom."""
    freedom = sum(row.shape[1] - 1 for row in rows)
    return sum(row.var(axis=1, ddof=1) * (row.shape[1] - 1) for row in rows) / freedom, freedom


def apart(floors, methods):
    """Gains (rows, tables) over the baseline of each row's length, their errors and freedom."""
    (of_floors, floor_freedom), (of_methods, freedom) = variance(floors), variance(methods)
    gains, errors, freedoms = [], [], []
    for row, at in zip(methods, AT, strict=True):
        parts = of_methods / row.shape[1], of_floors / floors[at].shape[1]
        gains.append(row.mean(axis=1) - floors[at].mean(axis=1))
        errors.append(np.sqrt(sum(parts)))
        freedoms.append(sum(parts) ** 2 / (parts[0] ** 2 / freedom + parts[1] ** 2 / floor_freedom))
    return map(np.array, (gains, errors, freedoms))


def test_the_simulation_with_two_deviations_computes_what_the_module_does():
    floors, methods = ([row[0] for row in rows] for rows in noisier_baseline(2))
    shared = deviations(methods, floors)
    gains = [
        difference(
            dict(enumerate(row)), dict(enumerate(floors[at])), shared.methods, shared.baseline
        )
        for row, at in zip(methods, AT, strict=True)
    ]
    expected = [one[:, :1] for one in apart(*noisier_baseline(2))]
    assert [gain.p for gain in gains] == pytest.approx(p_values(*expected)[:, 0])


@pytest.mark.parametrize("factor", [0.67, 1, 1.5, 2, 3])
def test_a_noisier_baseline_neither_narrows_intervals_nor_marks_more(factor):
    p = p_values(*apart(*noisier_baseline(factor)))
    assert 0.945 <= (p >= 0.05).mean() <= 0.975
    assert share_with_a_mark(p.T) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / TABLES)


def test_one_deviation_for_all_would_do_both():
    """Why APART_FROM is there."""
    floors, methods = noisier_baseline(2)
    together, freedom = variance([*floors, *methods])
    gains, _, _ = apart(floors, methods)
    sizes = [
        1 / row.shape[1] + 1 / floors[at].shape[1] for row, at in zip(methods, AT, strict=True)
    ]
    p = p_values(gains, np.sqrt(np.outer(sizes, together)), freedom)
    assert (p >= 0.05).mean() < 0.93
    assert share_with_a_mark(p.T) > 0.06


def test_the_smallest_difference_is_found_in_80_percent_of_tables():
    scores = SD * np.random.default_rng(1).standard_normal((TABLES, ROWS, SEEDS))
    gains = ROWS - 1
    of_run = Noise(SD, ROWS * (SEEDS - 1), ROWS)
    scores[:, 1] += smallest_difference(of_run, of_run, SEEDS, gains)
    p = p_values(*pooled(scores))[:, 0]
    assert (p * gains < 0.05).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("correlation", "most"), [(0, 0.83), (CORRELATION, 0.9)])
def test_from_ten_seeds_on_it_is_found_at_least_as_often(correlation, most):
    rng, seeds, gains = np.random.default_rng(1), 10, 12
    own = rng.standard_normal((TABLES, 2, seeds)) * math.sqrt(1 - correlation)
    scores = SD * (own + rng.standard_normal((TABLES, 1, seeds)) * math.sqrt(correlation))
    of_run = Noise(SD, ROWS * (seeds - 1), ROWS)
    scores[:, 1] += smallest_difference(of_run, of_run, seeds, gains)
    differences = scores[:, 1] - scores[:, 0]
    error = differences.std(axis=1, ddof=1) / math.sqrt(seeds)
    p = p_values(differences.mean(axis=1), error, seeds - 1)
    assert 0.78 < (p * gains < 0.05).mean() < most


def test_pairing_three_seeds_has_a_fifth_of_the_power():
    """Why PAIRED_FROM is not 3: of a true gain of 6 points, after the same correction."""
    scores = tables()
    scores[:, 1] += 6
    differences = scores[:, 1:] - scores[:, :1]
    error = differences.std(axis=2, ddof=1) / math.sqrt(SEEDS)
    paired = p_values(differences.mean(axis=2), error, SEEDS - 1)[:, 0]
    shared = p_values(*pooled(scores))[:, 0]
    power = [(p * (ROWS - 1) < 0.05).mean() for p in (paired, shared)]
    assert power[1] > 0.85
    assert power[0] < power[1] / 5
