"""Sentences from records: they change with the figures, and none lacks interval and n."""

from __future__ import annotations

import math
import re

import pytest
from bench_cli import bench, refused
from fake_records import fake_cost, fake_provenance, fake_record, four_methods

from harness.analysis.claims import claims
from harness.analysis.wording import joined, signed
from harness.records import store
from harness.records.schema import Record

NOISE = (-0.6, 0.1, 0.5)


def runs(method: str, miou: float, n: int = 3, **spec) -> list[Record]:
    return [
        fake_record(method, seed, miou + wobble, **spec) for seed, wobble in enumerate(NOISE[:n])
    ]


def table(daformer: float, dacs: float, **spec) -> list[Record]:
    return [
        *runs("source_only", 30.0, **spec),
        *runs("daformer", daformer, **spec),
        *runs("dacs", dacs, **spec),
        *runs("oracle", 50.0, **spec),
    ]


def texts(records: list[Record], about: str | None) -> list[str]:
    return [claim.text for claim in claims(records) if claim.about == about]


def test_who_stands_clear_and_who_is_not_told_from_chance():
    above, untold, ceiling = texts(table(36.0, 30.4), "gains")
    assert above == (
        "Beyond chance above source_only: daformer by +6.0 points on GTA5 -> Cityscapes "
        "[5.0, 7.0] (n = 3 seeds)."
    )
    assert untold == (
        "Not told from source_only on GTA5 -> Cityscapes: dacs, +0.4 points, 95 % intervals "
        "within [-0.6, 1.4] (n = 3 seeds)."
    )
    assert ceiling.startswith("Training on the target's labels (oracle) is worth +20.0 points on")


def test_a_mixture_of_code_is_said_beside_the_sentences():
    records = table(36.0, 30.4)
    assert not texts(records, None)
    for place, version in enumerate(("9.9.9", "2.9.0")):
        made_by = {**records[place].provenance, "versions": {"torch": version}}
        records[place] = records[place].model_copy(update={"provenance": made_by})
    (note, of_row) = texts(records, None)
    assert "2 versions of torch" in note
    assert "source_only" in of_row


def test_what_holds_of_two_scenarios_alike_is_said_once():
    records = [*table(36.0, 30.4), *table(36.0, 30.4, scenario="synthia2cs")]
    for place, record in enumerate(records):
        version = "2.9.0" if record.spec.method == "dacs" else "9.9.9"
        made_by = {**record.provenance, "versions": {"torch": version}}
        records[place] = record.model_copy(update={"provenance": made_by})
    (note,) = texts(records, None)
    assert "2.9.0 in dacs" in note
    assert note.startswith("Warning: ")
    elsewhere = [r for r in records if (r.spec.method, r.spec.scenario.name) != ("dacs", "gta2cs")]
    (note,) = texts([*elsewhere, *runs("dacs", 30.4)], None)
    assert note.startswith("Warning, on SYNTHIA -> Cityscapes: ")


def test_the_sentences_change_with_the_records():
    below, untold, _ = texts(table(26.0, 30.4), "gains")
    assert below.startswith("Beyond chance below source_only: daformer by -4.0 points")
    assert "dacs" in untold
    (both, _) = texts(table(36.0, 35.0), "gains")
    assert "daformer by +6.0 points" in both
    assert "; " in both
    assert "dacs by +5.0 points" in both


def test_two_scenarios_are_one_sentence_and_a_gain_in_one_alone_is_said_so():
    records = [*table(36.0, 36.0), *table(37.0, 30.2, scenario="synthia2cs")]
    above, mixed, _ = texts(records, "gains")
    assert "daformer by +6.0 points on GTA5 -> Cityscapes" in above
    assert "and +7.0 on SYNTHIA -> Cityscapes" in above
    assert mixed.startswith(
        "Beyond chance from source_only in one scenario, not so in another: dacs"
    )
    assert "[-0.8, 1.2] ~ (n = 3 seeds; ~: not told from chance)." in mixed
    (together,) = texts(records, "together")
    assert "(n = 2 scenarios)" in together
    (power,) = texts(records, "power")
    assert re.search(r"\d\.\d points on GTA5 -> Cityscapes \(n = 3 seeds, 3 comparisons\)", power)


def test_a_gain_in_one_scenario_and_a_loss_in_another_are_both_told():
    records = [*table(36.0, 35.0), *table(36.0, 25.0, scenario="synthia2cs")]
    (opposite,) = [text for text in texts(records, "gains") if "dacs" in text]
    assert opposite.startswith(
        "Beyond chance above source_only in one scenario, below it in another: dacs by +5.0 points"
    )


def test_gains_over_scenarios_together_name_their_student():
    records = [
        record
        for student, miou in (("b0", 40.0), ("b1", 33.0))
        for scenario in ("gta2cs", "synthia2cs")
        for record in table(miou, miou + 1, scenario=scenario, student=student)
    ]
    (together,) = texts(records, "together")
    assert "dacs of b0 by +11.0 points" in together
    assert "dacs of b1 by +4.0 points" in together


def test_a_longer_schedule_of_few_seeds_hides_no_shorter_one():
    twice = {"iterations": 1600, "length": 2}
    records = [*table(36.0, 30.4), *runs("daformer", 40.0, n=1, profile=twice)]
    assert "daformer by +6.0 points" in texts(records, "gains")[0]


@pytest.mark.parametrize("without", ["a row", "a score"])
def test_a_schedule_whose_gain_is_not_known_hides_no_shorter_one(without):
    """Of three seeds, but without source_only of that length, or with a score that is NaN."""
    twice = {"iterations": 1600, "length": 2}
    longer = [*runs("daformer", 40.0, profile=twice), *runs("oracle", 60.0, profile=twice)]
    if without == "a score":
        longer += runs("source_only", math.nan, profile=twice)
    above, _, ceiling = texts([*table(36.0, 30.4), *longer], "gains")
    assert "daformer by +6.0 points" in above
    assert "(oracle) is worth +20.0 points" in ceiling


def test_a_run_that_broke_hides_no_shorter_schedule_of_its_row():
    twice = {"iterations": 1600, "length": 2}
    parts = [*runs("dualkd", 34.0), *runs("mic", 33.0), *runs("dualkd+mic", 40.0)]
    broken = runs("dualkd+mic", math.nan, profile=twice)
    assert (
        "dualkd+mic scores 6.0 points more than dualkd alone"
        in (texts([*parts, *broken], "combined")[0])
    )


def test_why_nothing_is_said_of_runs_without_a_score(tmp_path):
    for record in [*runs("source_only", math.nan), *runs("daformer", 36.0)]:
        store.write(record, tmp_path / "records")
    line = refused(bench("claims", "--results", tmp_path))
    assert line.endswith("Runs whose mIoU is no number: 3, of source_only; run them again.")


def test_equal_steps_and_equal_seconds_are_told_apart_at_the_longest_schedule():
    def at(length, seconds):
        return {
            "profile": {"iterations": 800 * length, "length": length},
            "cost": fake_cost(wall_seconds=seconds),
        }

    records = [
        *runs("source_only", 30.0, **at(1, 100.0)),
        *runs("source_only", 34.0, **at(2, 200.0)),
        *runs("source_only", 38.0, **at(4, 400.0)),
        *runs("daformer", 36.0, **at(1, 200.0)),
        *runs("daformer", 38.2, **at(2, 400.0)),
    ]
    told = texts(records, "gains")
    assert told[0] == (
        "At equal steps, beyond chance above source_only: daformer x2 by +4.2 points on "
        "GTA5 -> Cityscapes [3.2, 5.2] (n = 3 seeds)."
    )
    assert told[1].startswith(
        "At equal seconds, not told from source_only on GTA5 -> Cityscapes: daformer x2, +0.2"
    )


def test_a_gain_at_the_longest_schedule_alone_is_said_to_be_so():
    def at(length):
        return {"profile": {"iterations": 800 * length, "length": length}}

    records = [
        *runs("source_only", 30.0, **at(1)),
        *runs("source_only", 34.0, **at(2)),
        *runs("daformer", 30.2, **at(1)),
        *runs("daformer", 38.0, **at(2)),
    ]
    alone = texts(records, "gains")[0]
    assert (
        "beyond chance from source_only at this length, not at every one: daformer x2 by" in alone
    )
    assert "+4.0 points" in alone
    assert "(told" not in alone
    scenario = "synthia2cs"
    other = [*runs("source_only", 20.0, scenario=scenario, **at(2))]
    other += runs("daformer", 24.0, scenario=scenario, **at(2))
    mixed = texts(records + other, "gains")[0]
    assert mixed.count("(told at this length, not at every one)") == 1
    assert "not so in another" in mixed


def taught(network: str, miou: float, parameters_m: float) -> list[Record]:
    teachers = [{"network": network, "weights_id": "0" * 10}]
    made = runs("dualkd", miou, teachers=teachers)
    for record in made:
        assert record.cost
        record.cost.training_parameters_m = parameters_m
    return made


@pytest.mark.parametrize(
    ("scores", "answer"),
    [
        ((36.0, 33.0, 30.0), "No: compared with small, it scores 3.0 points less with middle"),
        ((33.0, 36.0, 39.0), "Yes: compared with small, it scores 3.0 points more with middle"),
        ((33.0, 33.2, 39.0), "One does: compared with small, it scores 0.2 points more"),
        ((33.0, 36.0, 30.0), "One does, another harms: compared with small"),
        ((33.0, 33.2, 32.9), "Not told: compared with small"),
    ],
)
def test_whether_a_larger_teacher_helps(scores, answer):
    networks = ("small", "middle", "large")
    records = [
        run
        for number in (2, 0, 1)  # in no order of size
        for run in taught(networks[number], scores[number], 2.0 + number)
    ]
    (said,) = texts([*runs("source_only", 30.0), *records], "teachers")
    assert f"help dualkd on GTA5 -> Cityscapes? {answer}" in said
    assert said.index("with middle") < said.index("with large")
    one_seed = [run for run in records if run.spec.seed == 0]
    assert not texts([*runs("source_only", 30.0), *one_seed], "teachers")


def test_teachers_are_corrected_over_all_comparisons_of_the_table():
    """A difference that is told alone is not so as one of many."""
    records = [*runs("source_only", 30.0), *taught("small", 33.0, 2), *taught("large", 34.3, 3)]
    (alone,) = texts(records, "teachers")
    assert "? Yes: " in alone
    for number in range(8):
        for network, size in (("small", 2), ("large", 3)):
            more = taught(network, 33.0, size)
            for record in more:
                record.spec = record.spec.model_copy(update={"method": f"m{number}"})
                record.run_id = record.spec.run_id
            records += more
    said = next(text for text in texts(records, "teachers") if "help dualkd" in text)
    assert "? Not told: " in said


def test_whether_methods_add_up():
    records = [*table(36.0, 34.0), *runs("mic", 31.0), *runs("dacs+mic", 34.3)]
    (said,) = texts(records, "combined")
    assert said.startswith("dacs+mic scores 0.3 points more than dacs alone [")
    assert "] ~ at 1 times its training seconds and 3.3 points more than mic alone" in said
    assert said.endswith("on GTA5 -> Cityscapes (n = 3 seeds; ~: not told from chance).")


def test_seconds_of_two_machines_are_not_divided():
    elsewhere = runs("dacs+mic", 34.3, provenance=fake_provenance("Other CPU"))
    (said,) = texts([*table(36.0, 34.0), *runs("mic", 31.0), *elsewhere], "combined")
    assert "times its training seconds" not in said


def test_no_claim_is_made_of_few_seeds_and_none_lacks_n_and_interval():
    few = [record for record in table(40.0, 30.0) if record.spec.seed < 2]
    assert not claims(few)
    for claim in claims([*four_methods(), *four_methods(scenario="synthia2cs")]):
        assert re.search(r"n = \d", claim.text), claim
        assert claim.about == "power" or re.search(r"\[-?\d", claim.text), claim


def test_the_place_says_which_data_and_which_edition():
    places = {claim.place for claim in claims(table(36.0, 30.4, generated=False))}
    assert places == {"On real data, profile tiny"}
    (place,) = {claim.place for claim in claims(four_methods(profile={"edition": 2}))}
    assert place == "On generated data, profile tiny v2"


def test_the_command_prints_bullets_and_refuses_where_nothing_can_be_said(tmp_path):
    for record in table(36.0, 30.4):
        store.write(record, tmp_path / "records")
    outcome = bench("claims", "--results", tmp_path, "--about", "gains")
    lines = outcome.out.splitlines()
    assert lines[:2] == ["On generated data, profile tiny:", ""]
    assert lines[2].startswith("- Beyond chance above source_only: daformer")
    assert all(len(line) <= 120 for line in lines)
    line = refused(bench("claims", "--results", tmp_path, "--about", "teachers"))
    assert "let one say nothing about teachers" in line
    line = refused(
        bench("claims", "--results", tmp_path, "--method", "daformer", "--suite", "main")
    )
    assert "found in" in line
    assert "none passes the filters" in line


def test_lists_and_signs():
    assert [joined(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip
    assert [signed(value) for value in (-0.04, 0.04, -1.25, 2.0)] == [
        "+0.0",
        "+0.0",
        "-1.2",
        "+2.0",
    ]
