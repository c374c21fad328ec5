"""A table over several scenarios, by the definitions of rliable and a two-way layout."""

import json
import math

import pytest
from fake_records import fake_record
from scipy import stats as scipy_stats

from harness.analysis.aggregate import aggregates
from harness.analysis.comparison import comparison
from harness.errors import BenchError
from harness.report.formats import render

BOTH = {"all19": 20.0, "rescaled19": 30.0}
SCORES = {
    "gta2cs": {"source_only": (31, 29, 33), "a": (35, 31, 33), "b": (40, 41, 39)},
    "synthia2cs": {"source_only": (28, 30, 32), "a": (34, 33, 29), "b": (37, 37, 40)},
}


def records(without=()):
    return [
        fake_record(method, seed, score, scenario=scenario, conventions=BOTH)
        for scenario, methods in SCORES.items()
        for method, scores in methods.items()
        for seed, score in enumerate(scores)
        if (scenario, method) not in without
    ]


def row(method, **kwargs):
    (aggregate,) = aggregates(comparison(records(**kwargs)))
    return next(r for r in aggregate.rows if r.label == method)


def test_the_interquartile_mean_is_over_the_runs_of_all_scenarios():
    values = [*SCORES["gta2cs"]["a"], *SCORES["synthia2cs"]["a"]]
    assert row("a").interquartile_mean == pytest.approx(scipy_stats.trim_mean(values, 0.25))
    assert row("a").runs == 6


def test_improvement_is_by_scenario():
    assert row("b").improvement == 1
    # gta2cs: 35 and 33 above 31, 29, 33 with a tie, 31 likewise; synthia2cs: 34, 33, 29
    assert row("a").improvement == pytest.approx(((3 + 1.5 + 2.5) / 9 + (3 + 3 + 1) / 9) / 2)


def test_the_unit_of_a_gain_is_the_scenario():
    gain = row("b").gain
    means = [[sum(s) / 3 for s in methods.values()] for methods in SCORES.values()]
    by_row = list(zip(*means, strict=True))
    grand, columns = sum(map(sum, means)) / 6, [sum(column) / 3 for column in means]
    squares = sum(
        (value - sum(values) / 2 - column + grand) ** 2
        for values in by_row
        for value, column in zip(values, columns, strict=True)
    )
    error = math.sqrt(squares / 2)  # (3 rows - 1) x (2 scenarios - 1) degrees of freedom
    low, high = scipy_stats.t.interval(0.95, 2, gain.mean, error)  # sqrt(2 / 2 scenarios) of it
    assert gain.n == 2
    assert (gain.low, gain.high) == (pytest.approx(low), pytest.approx(high))


def test_a_method_of_several_lengths_counts_once_and_is_told_where_all_of_them_are():
    longer = {"source_only": (40, 41, 39), "b": (40, 39, 41)}  # b gains nothing there
    twice = [
        fake_record(
            *(method, seed, score),
            scenario=scenario,
            conventions=BOTH,
            profile={"length": 2, "iterations": 1600},
        )
        for scenario in SCORES
        for method, scores in longer.items()
        for seed, score in enumerate(scores)
    ]
    many = [
        fake_record(f"c{i}", seed, 31 + 0.01 * i, scenario=scenario, conventions=BOTH)
        for scenario in SCORES
        for i in range(30)
        for seed in range(3)
    ]
    (aggregate,) = aggregates(comparison([*records(), *many, *twice]))
    once, again = (r.gain for r in aggregate.rows if r.label.startswith("b"))
    assert once.told_here
    assert not once.significant
    assert not again.told_here
    assert aggregate.noise.freedom == len({r.label.split()[0] for r in aggregate.rows}) - 1


def test_json_says_which_gains_over_scenarios_are_significant():
    (aggregate,) = aggregates(comparison(records()))
    (written,) = json.loads(render(records(), "json", aggregate=True))["aggregated"]
    told = {r.label: r.gain.significant for r in aggregate.rows if r.gain}
    assert told
    assert told == {r["label"]: r["gain"]["significant"] for r in written["rows"] if r["gain"]}


def test_a_row_of_one_scenario_is_left_out_and_named():
    text = render(records(without=[("synthia2cs", "a")]), "markdown", aggregate=True)
    over = text.partition("### Over")[2]
    assert "| a " not in over
    assert "or without a figure, left out: a." in over


def test_a_run_that_broke_costs_its_own_row_alone():
    broken = fake_record("a", 9, math.nan, conventions=BOTH)
    (aggregate,) = aggregates(comparison([*records(), broken]))
    assert [r.label for r in aggregate.rows] == ["source_only", "b"]
    assert aggregate.left_out == ["a"]
    assert math.isfinite(aggregate.rows[1].gain.low)


def of_a(scenario, value, **spec):
    return [
        fake_record("a", seed, 30 + seed, scenario=scenario, config={"k": value}, **spec)
        for seed in range(3)
    ]


def test_a_row_is_of_equal_settings_on_every_scenario():
    """Whatever their labels say: those name what tells rows of one table apart, and no more."""
    floor = [r for r in records() if r.spec.method == "source_only"]
    other = [*floor, *of_a("gta2cs", 1), *of_a("synthia2cs", 2)]
    (aggregate,) = aggregates(comparison(other))
    assert [r.label for r in aggregate.rows] == ["source_only"]
    (aggregate,) = aggregates(comparison([*other, *of_a("gta2cs", 2)]))
    assert [r.label for r in aggregate.rows] == ["source_only", "a (k=2)"]


def test_scenarios_are_joined_where_their_profiles_are_alike_and_only_there():
    short = {"iterations": 400}
    longer = [*of_a("gta2cs", 1), *of_a("synthia2cs", 1)]
    (aggregate,) = aggregates(comparison([*longer, *of_a("gta2cs", 1, profile=short)]))
    assert aggregate.differs == ["iterations 800"]
    assert aggregates(comparison([*of_a("gta2cs", 1), *of_a("synthia2cs", 1, profile=short)])) == []


def test_one_scenario_has_no_aggregate():
    alone = [r for r in records() if r.spec.scenario.name == "gta2cs"]
    assert aggregates(comparison(alone)) == []


def test_csv_refuses_rows_of_several_scenarios():
    with pytest.raises(BenchError, match="csv holds rows of one scenario each"):
        render(records(), "csv", aggregate=True)
