import math

import pytest
from fake_records import fake_cost, fake_provenance, fake_record

from harness.analysis.regression import (
    HOLDS,
    NOTHING_MEASURED,
    REGRESSION,
    Tolerances,
    check,
    compare,
)
from harness.errors import BenchError
from harness.records import store
from harness.records.schema import Golden

INFERENCE_BY_OWN_TIME = fake_cost()
assert INFERENCE_BY_OWN_TIME.inference
INFERENCE_BY_OWN_TIME.inference.timed_by = "own time"


def verdicts(base, record, **tolerances):
    report = compare([base], [record], Tolerances(**tolerances))
    return {finding.quantity: finding.verdict for finding in report.findings}, report.exit_code


def test_the_same_record_holds():
    by_quantity, code = verdicts(fake_record(), fake_record())
    assert code == HOLDS
    assert by_quantity == dict.fromkeys(
        [
            "mIoU",
            "scored labels",
            "loss source",
            "peak memory",
            "training speed",
            "inference speed",
        ],
        "holds",
    )


@pytest.mark.parametrize(
    ("quantity", "changed", "verdict"),
    [
        ("mIoU", {"miou": 29.4}, "regressed"),
        ("mIoU", {"miou": 29.6}, "holds"),
        ("mIoU", {"miou": 31.0}, "improved"),
        ("mIoU", {"miou": math.nan}, "regressed"),
        ("loss source", {"losses": {"source": [2.5, 2.26]}}, "regressed"),
        ("loss source", {"losses": {"source": [2.5, 2.24]}}, "regressed"),
        ("loss source", {"losses": {"source": [2.5, 2.2501]}}, "holds"),
        ("loss source", {"losses": {"source": [math.nan, 2.25]}}, "regressed"),
        ("loss source", {"losses": {"other": [1.0]}}, "regressed"),
        ("loss source", {"losses": {"source": []}}, "not compared"),
        ("peak memory", {"cost": fake_cost(memory_mib=1050.0)}, "regressed"),
        ("peak memory", {"cost": fake_cost(memory_mib=1000.0)}, "holds"),
        ("peak memory", {"cost": fake_cost(memory_mib=450.0)}, "improved"),
        ("peak memory", {"cost": fake_cost(memory_kind="gpu allocated")}, "not compared"),
        ("peak memory", {"provenance": fake_provenance("Other CPU")}, "not compared"),
        ("scored labels", {"confusion": [[3]]}, "regressed"),
        ("training speed", {"cost": fake_cost(images_per_second=23.0)}, "regressed"),
        ("training speed", {"cost": fake_cost(images_per_second=24.0)}, "holds"),
        ("training speed", {"cost": fake_cost(images_per_second=99.0)}, "improved"),
        ("training speed", {"provenance": fake_provenance("Other CPU")}, "not compared"),
        ("training speed", {"cost": fake_cost(images_per_second=23.0, timed_by=None)}, "regressed"),
        ("training speed", {"cost": fake_cost(timed_by="own time")}, "not compared"),
        ("inference speed", {"cost": INFERENCE_BY_OWN_TIME}, "not compared"),
        ("inference speed", {"provenance": fake_provenance(gpu="GPU X")}, "not compared"),
        ("run", {"error": "crashed"}, "regressed"),
        ("run", {"seed": 9}, "not measured"),
    ],
)
def test_each_figure_has_its_tolerance(quantity, changed, verdict):
    by_quantity, code = verdicts(fake_record(), fake_record(**changed))
    assert by_quantity[quantity] == verdict
    assert code == {"regressed": REGRESSION, "not measured": NOTHING_MEASURED}.get(verdict, HOLDS)


def golden(last=1.0, step=29, grown=0.0):
    losses = {"source": [(0, 2.5), (step, 2.0 * last)]}
    return Golden(losses=losses, held_mib=[(4, 2.0), (step, 2.0 + grown)])


@pytest.mark.parametrize(
    ("quantity", "changed", "verdict"),
    [
        ("loss source", {"last": 1.002}, "holds"),
        ("loss source", {"last": 1.004}, "regressed"),
        ("loss source", {"last": 0.996}, "regressed"),
        ("loss source", {"last": math.nan}, "regressed"),
        ("held tensors", {"grown": 0.9}, "holds"),
        ("held tensors", {"grown": 1.1}, "regressed"),
        ("held tensors", {"grown": -1.1}, "improved"),
    ],
)
def test_the_end_of_the_schedule_is_held_too(quantity, changed, verdict):
    base, other = fake_record(golden=golden()), fake_record(golden=golden(**changed))
    assert verdicts(base, other)[0][quantity] == verdict


def test_losses_are_compared_by_step():
    base, other = fake_record(golden=golden()), fake_record(golden=golden(step=28, last=2.0))
    assert verdicts(base, other)[0]["loss source"] == "holds"
    report = compare([base], [fake_record(golden=golden(last=1.01))])
    assert "step 29: 2 -> 2.02, off by 0.01 (allowed 0.003)" in report.render()


def test_a_baseline_without_later_losses_is_held_at_its_first_ones():
    assert verdicts(fake_record(), fake_record(golden=golden()))[0]["loss source"] == "holds"
    later = fake_record(losses={"source": [2.6]}, golden=golden())
    assert verdicts(fake_record(), later)[0]["loss source"] == "regressed"


def test_what_may_differ_grows_with_the_step_to_a_bound():
    assert [Tolerances().loss(step) for step in (0, 9, 10**6)] == pytest.approx([1e-4, 1e-3, 0.05])


def test_memory_on_another_processor_names_both():
    other = fake_record(provenance=fake_provenance("Other CPU"), cost=fake_cost(memory_mib=5e3))
    (finding,) = [
        f for f in compare([fake_record()], [other]).findings if f.quantity == "peak memory"
    ]
    assert finding.detail == "Test CPU in the baseline, Other CPU here"


def test_tolerances_can_be_set():
    assert verdicts(fake_record(), fake_record(miou=28), miou=3.0)[1] == HOLDS


def test_one_run_left_out_does_not_pass_unseen():
    report = compare([fake_record(seed=0), fake_record(seed=1)], [fake_record(seed=0)])
    assert report.exit_code == NOTHING_MEASURED
    assert [finding.run for finding in report.of("not measured")] == [
        "source_only mini-b0, gta2cs, tiny, seed 1"
    ]


def test_the_newest_of_several_measurements_counts():
    old = fake_record(miou=10, created="2025-01-01T00:00:00Z")
    new = fake_record(miou=30, created="2025-01-02T00:00:00Z")
    assert compare([fake_record()], [new, old]).exit_code == HOLDS


def test_the_report_says_what_regressed_and_by_how_much():
    report = compare([fake_record()], [fake_record(miou=28.0)])
    text, markdown = report.render("text"), report.render("markdown")
    assert text.startswith("Regression: 1 regressed, 5 holds.")
    assert "30.00 -> 28.00, -2.00 points (allowed 0.5)" in text
    assert markdown.startswith("**Regression: 1 regressed, 5 holds.**")
    assert "| mIoU " in markdown


def test_a_baseline_is_measured_again_by_the_runner(tmp_path):
    baseline = [fake_record(seed=seed) for seed in range(2)]
    path = store.write_list(baseline, tmp_path / "baseline.json")
    asked = []

    def runner(spec):
        asked.append(spec)
        return fake_record(seed=spec.seed, miou=20)

    report, code = check(path, runner=runner)
    assert code == REGRESSION
    assert asked == [record.spec for record in baseline]
    assert len(report.of("regressed")) == 2


@pytest.mark.parametrize(
    ("measured", "asked", "code"),
    [
        (["fast"], 1, HOLDS),
        (["slow", "slow", "fast"], 3, HOLDS),
        (["slow", "slow", "slow", "slow", "fast"], 5, HOLDS),
        (["slow", "slow", "slow", "slow", "slow", "fast"], 5, REGRESSION),
        (["worse", "fast"], 1, REGRESSION),
        (["slow", "worse", "fast"], 2, REGRESSION),
        (["worse and slow", "fast"], 1, REGRESSION),
        (["large", "fast"], 2, HOLDS),
        (["large", "large", "large", "large", "large"], 5, REGRESSION),
    ],
)
def test_a_run_that_is_only_slow_or_large_is_measured_again(tmp_path, measured, asked, code):
    path = store.write_list([fake_record()], tmp_path / "baseline.json")
    slow = {"cost": fake_cost(images_per_second=12.0)}
    worse = {"miou": 20}
    large = {"cost": fake_cost(memory_mib=5e3)}
    kinds = {"fast": {}, "slow": slow, "large": large, "worse": worse}
    kinds["worse and slow"] = slow | worse
    runs = [fake_record(**kinds[kind]) for kind in measured]
    left = iter(runs)
    assert check(path, runner=lambda spec: next(left))[1] == code
    assert len(runs) - len(list(left)) == asked


def test_a_baseline_is_held_against_stored_records(tmp_path):
    path = store.write(fake_record(), tmp_path / "baseline")
    store.write(fake_record(miou=30.1), tmp_path / "measured")
    assert check(path, tmp_path / "measured")[1] == HOLDS
    (tmp_path / "empty").mkdir()
    report, code = check(path, tmp_path / "empty")
    assert code == NOTHING_MEASURED
    assert report.render().startswith("Nothing measured: 1 not measured.")
    some = compare([fake_record(), fake_record("daformer")], [fake_record()])
    assert some.exit_code == NOTHING_MEASURED
    assert some.render().startswith("Not all measured: 1 not measured, ")


def test_a_useless_baseline_is_the_users_error(tmp_path):
    with pytest.raises(BenchError, match="no such file"):
        check(tmp_path / "none.json")
    with pytest.raises(BenchError, match="holds no record"):
        compare([], [fake_record()])
    with pytest.raises(BenchError, match="no figures in it"):
        compare([fake_record(error="broken")], [fake_record()])


def test_what_is_no_number_is_said_in_words():
    number, none = fake_record(), fake_record(miou=math.nan)
    lost = compare([number], [none]).of("regressed")
    assert any("no number here (NaN)" in finding.detail for finding in lost)
    unscored = {f.quantity: f for f in compare([none], [none]).findings}["mIoU"]
    assert unscored.verdict == "not compared"  # a target without labels
    broken = compare([number], [fake_record(losses={"source": [math.nan, 2.25]})])
    for report in (compare([number], [none]), compare([none], [none]), broken):
        assert not any(" nan" in f.detail or " inf" in f.detail for f in report.findings)


def test_labels_are_counted_by_class():
    """Pixels that moved from one class to another are another question, as many as they are."""
    base = fake_record(confusion=[[0, 0, 0], [0, 5, 0], [0, 0, 0]])
    moved = fake_record(confusion=[[0, 0, 0], [0, 0, 0], [0, 0, 5]])
    by_quantity, code = verdicts(base, moved)
    assert by_quantity["scored labels"] == "regressed"
    assert code == REGRESSION


@pytest.mark.parametrize(
    ("ema", "verdict"), [(40.0, "holds"), (35.0, "regressed"), (None, "regressed")]
)
def test_the_ema_teacher_is_held_as_its_student_is(ema, verdict):
    by_quantity, code = verdicts(fake_record(ema_miou=40.0), fake_record(ema_miou=ema))
    assert by_quantity["EMA teacher mIoU"] == verdict
    assert code == (HOLDS if verdict == "holds" else REGRESSION)
    assert "EMA teacher mIoU" not in verdicts(fake_record(), fake_record(ema_miou=40.0))[0]
