"""One method against another: what may be compared, and what the sentence says."""

import math

import pytest
from fake_records import fake_cost, fake_provenance, fake_record, fake_training, without_labels
from scipy import stats as scipy_stats

from harness.analysis.comparison import comparison
from harness.analysis.head_to_head import head_to_head as _head_to_head
from harness.analysis.head_to_head import sentence
from harness.analysis.match_ups import match_ups
from harness.analysis.statistics import difference, noise
from harness.errors import BenchError
from harness.records.schema import TeacherCost
from harness.report.versus import class_grid

NAMES = ("daformer", "dualkd")
DAFORMER, DUALKD = (26.2, 25.9, 27.5), (32.0, 35.5, 35.8)


def head_to_head(names, a, b, others, network="student"):
    (match_up,) = match_ups(names, a, b)
    return _head_to_head(match_up, others, network)


def runs(method, scores=DAFORMER, **spec):
    return [fake_record(method, seed, score, **spec) for seed, score in enumerate(scores)]


def test_the_difference_is_of_the_second_over_the_first():
    result = head_to_head(NAMES, runs("daformer"), runs("dualkd", DUALKD), [])
    assert result.difference.mean == pytest.approx(103.3 / 3 - 79.6 / 3)
    assert sentence(result).startswith("dualkd scores 7.9 points more than daformer (95 % ")


def test_without_labels_nothing_is_compared():
    one, other = (list(map(without_labels, runs(name))) for name in NAMES)
    with pytest.raises(BenchError, match="daformer and dualkd: their target has no labels"):
        head_to_head(NAMES, one, other, [])


def test_two_methods_alone_are_compared_by_welchs_test():
    result = head_to_head(NAMES, runs("daformer"), runs("dualkd", DUALKD), [])
    assert result.difference.test == "Welch t"


def test_two_seeds_tell_nothing_as_in_a_table():
    """However small p is: of two seeds against five it errs too often."""
    b = runs("dualkd", (33.0, 33.5, 33.3, 33.8, 34.0))
    result = head_to_head(NAMES, runs("daformer", (30.0, 30.4)), b, [])
    assert result.difference.p < 0.01
    assert not result.difference.significant
    assert "more than daformer, of too few seeds to tell (95 % interval" in sentence(result)


def test_comparable_records_share_the_deviation_and_others_do_not():
    others = [*runs("source_only", (21, 25, 24)), *runs("oracle", (48, 52, 52))]
    elsewhere = runs("mic", (10, 60, 90), scenario="synthia2cs")
    result = head_to_head(NAMES, runs("daformer"), runs("dualkd", DUALKD), [*others, *elsewhere])
    shared = noise([DAFORMER, DUALKD, (21, 25, 24), (48, 52, 52)])
    expected = difference(dict(enumerate(DUALKD)), dict(enumerate(DAFORMER)), shared, shared)
    assert result.difference == expected
    assert "deviation of 4 comparable rows, n = 3 seeds" in sentence(result)


def test_a_well_known_baseline_keeps_its_deviation_to_itself():
    lengths = [{"length": n, "iterations": 800 * n} for n in (1, 2, 4, 8)]
    floor = [run for n in lengths for run in runs("source_only", (10, 30, 20), profile=n)]
    methods = [*runs("oracle", (48, 52, 52)), *runs("mic", (31, 30, 32))]
    result = head_to_head(NAMES, runs("daformer"), runs("dualkd", DUALKD), [*floor, *methods])
    shared = noise([DAFORMER, DUALKD, (48, 52, 52), (31, 30, 32)])
    assert result.difference.high - result.difference.low == pytest.approx(
        2 * scipy_stats.t.ppf(0.975, 8) * shared.sd * (2 / 3) ** 0.5
    )
    assert "deviation of 4 comparable rows" in sentence(result)


def with_teachers(records, more):
    """Each run with an EMA teacher that scores so many points more."""
    changed = []
    for run in records:
        student = run.metrics.student
        teacher = student.model_copy(update={"miou": student.miou + more})
        metrics = run.metrics.model_copy(update={"ema_teacher": teacher})
        changed.append(run.model_copy(update={"metrics": metrics}))
    return changed


def test_ema_teachers_are_compared_with_one_another_and_with_source_onlys_student():
    a, b = with_teachers(runs("daformer"), 6), with_teachers(runs("dualkd", DUALKD), 1)
    result = head_to_head(NAMES, a, b, [], "ema_teacher")
    assert result.difference.mean == pytest.approx(103.3 / 3 - 79.6 / 3 - 5)
    assert sentence(result).startswith(
        "dualkd's EMA teacher scores 2.9 points more than daformer's EMA teacher"
    )
    floor = runs("source_only", (21, 25, 24))
    over_floor = head_to_head(("source_only", "daformer"), floor, a, [], "ema_teacher")
    assert sentence(over_floor).startswith(
        "daformer's EMA teacher scores 9.2 points more than source_only ("
    )


def test_a_method_without_an_ema_teacher_is_held_against_one_by_its_student():
    pair = runs("advent"), with_teachers(runs("daformer"), 6)
    result = head_to_head(("advent", "daformer"), *pair, [], "ema_teacher")
    assert result.difference.mean == pytest.approx(6)
    assert sentence(result).startswith(
        "daformer's EMA teacher scores 6.0 points more than advent ("
    )
    with pytest.raises(BenchError, match="advent and fda have no EMA teacher to compare; expected"):
        head_to_head(("advent", "fda"), runs("advent"), runs("fda"), [], "ema_teacher")


def test_a_difference_that_chance_explains_is_called_so():
    result = head_to_head(NAMES, runs("daformer"), runs("dualkd", (26.0, 29.1, 25.2)), [])
    assert "more than daformer, which chance explains as well (95 % interval -" in sentence(result)


def test_one_seed_alone_has_no_interval():
    result = head_to_head(NAMES, runs("daformer")[:1], runs("dualkd", DUALKD)[:1], [])
    assert sentence(result).startswith(
        "dualkd scores 5.8 points more than daformer, of too few seeds to tell (no interval from "
        "n = 1 seed)"
    )


def test_the_frozen_teachers_training_is_part_of_the_cost():
    training = fake_training(wall_seconds=30.0)
    taught = TeacherCost(network="m", parameters_m=2.0, weights_id=None, training=training)
    cost = fake_cost([taught], wall_seconds=60.0, memory_mib=990.0)
    teachers = [{"network": "m", "weights_id": "1" * 10}]
    a = runs("daformer", cost=fake_cost(wall_seconds=45.0))
    result = head_to_head(NAMES, a, runs("dualkd", DUALKD, cost=cost, teachers=teachers), [])
    assert sentence(result).endswith(
        "at 2 times the training time (its frozen teacher's 30 s included) and 1.1 times the "
        "memory."
    )


def test_the_seconds_are_those_of_a_tables_rows():
    """On a CPU those that training computed: what else a machine did is no cost of a method."""
    training = fake_training(wall_seconds=90.0, processor_seconds=20.0)
    taught = TeacherCost(network="m", parameters_m=2.0, weights_id=None, training=training)
    cost = fake_cost([taught], wall_seconds=100.0, processor_seconds=60.0)
    a = runs("daformer", cost=fake_cost(wall_seconds=90.0, processor_seconds=40.0))
    b = runs("dualkd", DUALKD, cost=cost, teachers=[{"network": "m", "weights_id": "1" * 10}])
    result = head_to_head(NAMES, a, b, [])
    assert "at 2 times the training time (its frozen teacher's 20 s included)" in sentence(result)
    (table,) = comparison([*a, *b])
    assert [row.train_seconds for row in table.rows] == [
        result.a.cost.seconds,
        result.b.cost.seconds,
    ]


def test_costs_of_other_machines_are_not_divided():
    b = runs("dualkd", DUALKD, provenance=fake_provenance("Other CPU"))
    said = sentence(head_to_head(NAMES, runs("daformer"), b, []))
    assert said.endswith("; costs are of other machines, Test CPU against Other CPU.")


def test_costs_are_those_of_a_machine_that_ran_both():
    elsewhere = fake_provenance("Other CPU")
    cheap, dear = fake_cost(wall_seconds=40.0), fake_cost(wall_seconds=400.0)
    a = [*runs("daformer", DAFORMER[:2], cost=cheap),
         fake_record("daformer", 2, DAFORMER[2], cost=dear, provenance=elsewhere)]  # fmt: skip
    b = runs("dualkd", DUALKD, cost=fake_cost(wall_seconds=80.0))
    said = sentence(head_to_head(NAMES, a, b, []))
    assert "at 2 times the training time" in said
    of_one = [r.model_copy(update={"provenance": elsewhere}) for r in b]
    assert "at 0.2 times the training time" in sentence(head_to_head(NAMES, a, of_one, []))


def test_what_the_code_of_both_differs_in_is_noted():
    old, new = ({**fake_provenance(), "versions": {"torch": v}} for v in ("2.9.0", "9.9.9"))
    a = runs("daformer", provenance=old)
    assert head_to_head(NAMES, a, runs("dualkd", DUALKD, provenance=old), []).notes == []
    result = head_to_head(NAMES, a, runs("dualkd", DUALKD, provenance=new), [])
    (note,) = result.notes
    assert note.startswith("Warning: rows hold runs of 2 versions of torch: ")
    assert "torch 9.9.9 in dualkd" in note
    assert note in class_grid(result).notes


def test_classes_are_corrected_over_the_classes():
    result = head_to_head(NAMES, runs("daformer"), runs("dualkd", DUALKD), [])
    road = result.classes["road"]
    assert road.mean == pytest.approx(result.difference.mean)
    assert road.p_holm == pytest.approx(min(1, 18 * road.p))  # "train" is in no image
    assert result.classes["train"] is None


def test_what_may_share_no_table_is_refused_with_what_differs():
    b = runs("dualkd", DUALKD, profile={"iterations": 400})
    with pytest.raises(BenchError, match="may not be compared: iterations 800 against 400"):
        head_to_head(NAMES, runs("daformer"), b, [])


def test_the_scenario_of_one_side_chooses_the_others_runs():
    b = [*runs("dualkd", DUALKD), *runs("dualkd", scenario="synthia2cs")]
    assert head_to_head(NAMES, runs("daformer"), b, []).b.scores == DUALKD


def test_seeds_of_one_method_are_no_comparison():
    with pytest.raises(BenchError, match="runs of the same settings"):
        head_to_head(("a", "b"), runs("daformer")[:1], runs("daformer")[1:], [])


def test_a_run_without_a_number_is_named_and_not_compared():
    broken = runs("dualkd", (32.0, math.nan, 35.8))
    with pytest.raises(BenchError, match=f"{broken[1].run_id}: an mIoU that is no number"):
        head_to_head(NAMES, runs("daformer"), broken, [])


def test_newer_records_of_the_same_runs_elsewhere_change_nothing():
    newer = runs("daformer", (26.3, 26.0, 27.6))
    for record in newer:
        record.created = "2999-01-01T00:00:00Z"
    result = head_to_head(NAMES, runs("daformer"), runs("dualkd", DUALKD), newer)
    assert result.a.scores == DAFORMER
