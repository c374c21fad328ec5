"""Which rows of two methods are held against each other."""

import pytest
from fake_records import fake_record, without_labels

from harness.analysis.match_ups import match_ups
from harness.errors import BenchError

NAMES = ("daformer", "dualkd")


def runs(method, **spec):
    return [fake_record(method, seed, 30 + seed, **spec) for seed in range(3)]


def longer(method, length, **spec):
    return runs(method, profile={"length": length, "iterations": 800 * length}, **spec)


def labels(found):
    return [match_up.labels for match_up in found]


def test_one_row_of_either_is_one_match_up():
    (found,) = match_ups(NAMES, runs("daformer"), runs("dualkd"))
    assert found.labels == NAMES
    assert [run.spec.method for run in found.b] == ["dualkd"] * 3
    assert found.where == {"scenario": "gta2cs", "profile": "tiny", "settings": ""}


def test_each_scenario_is_a_match_up():
    a = [*runs("daformer", scenario="synthia2cs"), *runs("daformer")]
    b = [*runs("dualkd"), *runs("dualkd", scenario="synthia2cs")]
    found = match_ups(NAMES, a, b)
    assert [match_up.where["scenario"] for match_up in found] == ["gta2cs", "synthia2cs"]
    assert all(run.spec.scenario.name == m.where["scenario"] for m in found for run in m.a)
    (one,) = match_ups(NAMES, a[:3], b)
    assert one.where["scenario"] == "synthia2cs"


def test_profiles_that_differ_are_match_ups_told_by_what_differs():
    slower = {"profile": {"lr": 1e-4}}
    a = [*runs("daformer"), *runs("daformer", **slower)]
    found = match_ups(NAMES, a, [*runs("dualkd"), *runs("dualkd", **slower)])
    assert len(found) == 2
    assert "lr 0.0001" in {match_up.where["settings"] for match_up in found}


def test_each_setting_is_held_against_each():
    b = [*runs("dualkd", config={"lambda_kd": 1.0}), *runs("dualkd", config={"lambda_kd": 2.0})]
    assert labels(match_ups(NAMES, runs("daformer"), b)) == [
        ("daformer", "dualkd (lambda_kd=1)"),
        ("daformer", "dualkd (lambda_kd=2)"),
    ]


def test_schedules_of_one_length_are_held_against_each_other_where_there_are_some():
    a = [run for n in (1, 2, 4) for run in longer("source_only", n)]
    b = [run for n in (2, 4) for run in longer("daformer", n)]
    assert labels(match_ups(("source_only", "daformer"), a, b)) == [
        ("source_only x2", "daformer x2"),
        ("source_only x4", "daformer x4"),
    ]
    found = match_ups(("source_only", "daformer"), a, longer("daformer", 8))
    assert [of_a for of_a, _ in labels(found)] == [
        "source_only", "source_only x2", "source_only x4",
    ]  # fmt: skip


def test_of_several_students_the_same_are_held_against_each_other():
    a = [*runs("daformer", student="mini_s"), *runs("daformer", student="mini_m")]
    (found,) = match_ups(NAMES, a, runs("dualkd", student="mini_m"))
    assert {run.spec.student for run in (*found.a, *found.b)} == {"mini_m"}


def test_two_settings_of_one_method_are_compared_and_one_is_not():
    some, others = runs("dualkd"), runs("dualkd", config={"lambda_kd": 2.0})
    assert len(match_ups(("dualkd", "dualkd"), some, others)) == 1
    with pytest.raises(BenchError, match="a and b are runs of the same settings"):
        match_ups(("a", "b"), some[:1], some[1:])


def test_settings_that_both_sides_hold_are_held_against_each_other_once():
    some = [run for n in (1.0, 2.0, 3.0) for run in runs("dualkd", config={"lambda_kd": n})]
    found = [[label[-2] for label in pair] for pair in labels(match_ups(("a", "a"), some, some))]
    assert found == [["1", "2"], ["1", "3"], ["2", "3"]]


def test_a_target_without_labels_is_left_out_beside_one_with_them():
    a = [*runs("daformer"), *map(without_labels, runs("daformer", scenario="synthia2cs"))]
    b = [*runs("dualkd"), *map(without_labels, runs("dualkd", scenario="synthia2cs"))]
    assert [m.where["scenario"] for m in match_ups(NAMES, a, b)] == ["gta2cs"]


def test_what_may_share_no_table_is_refused_with_what_differs():
    b = runs("dualkd", profile={"iterations": 400})
    with pytest.raises(BenchError, match="may not be compared: iterations 800 against 400"):
        match_ups(NAMES, runs("daformer"), b)
