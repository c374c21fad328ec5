"""Tables say what weights the encoders of their runs started from."""

from fake_records import fake_record

from harness.analysis.comparison import comparison
from harness.analysis.variants import settings

LITE = {"init": "5793442488", "init_file": "efficientnet-lite0-57934424.pth"}
TEACHER = {"init": "77cc716000", "init_file": "efficientnet-lite1-77cc7160.pth"}


def started(record, **init):
    record.spec = record.spec.model_copy(update=init)
    record.run_id = record.spec.run_id
    return record


def labels(*records):
    (table,) = comparison(records)
    return {row.label for row in table.rows}


def note(*records):
    (table,) = comparison(records)
    return [line for line in table.notes if line.startswith("Weights that encoders start from")]


def test_rows_that_differ_in_them_say_which():
    assert labels(started(fake_record("dacs"), **LITE), fake_record("dacs")) == {
        "dacs (init=57934424)",
        "dacs (init=random)",
    }


def test_what_most_rows_start_from_is_named_too():
    records = [
        started(fake_record("dacs", config={"ema": n}), **(LITE if n else {})) for n in range(3)
    ]
    (table,) = comparison(records)
    said = "dacs, where its row does not say otherwise: init=57934424."
    assert said in table.notes


def test_a_file_of_two_names_is_one_row():
    other = LITE | {"init_file": "copy.pth"}
    runs = [started(fake_record("dacs", seed), **init) for seed, init in enumerate((LITE, other))]
    (table,) = comparison(runs)
    assert [row.miou.n for row in table.rows] == [2]


def test_a_record_without_the_name_of_the_file_has_its_digits():
    record = started(fake_record("dacs", student="b0"), init=LITE["init"])
    assert note(record) == ["Weights that encoders start from: b0: 57934424."]


def test_a_frozen_teachers_weights_part_rows():
    teachers = [
        {"network": "b1", "weights_id": "w", **TEACHER},
        {"network": "b1", "weights_id": "v"},
    ]
    runs = [fake_record("dualkd", teachers=[teacher]) for teacher in teachers]
    assert labels(*runs) == {
        "dualkd (teacher_init=77cc7160)",
        "dualkd (teacher_init=random)",
    }


def test_a_note_names_them_by_network():
    record = started(
        fake_record(
            "dualkd", student="b0", teachers=[{"network": "b1", "weights_id": "w", **TEACHER}]
        ),
        **LITE,
    )
    assert note(record, started(fake_record("dacs", student="b0"), **LITE)) == [
        "Weights that encoders start from: b0: 57934424 (efficientnet-lite0-57934424.pth); "
        "b1: 77cc7160 (efficientnet-lite1-77cc7160.pth)."
    ]


def test_the_note_tells_random_weights_where_weights_are_wanted():
    assert note(fake_record(profile={"wants_init": "ImageNet weights"}, student="b0")) == [
        "Weights that encoders start from: b0: random."
    ]
    assert note(fake_record()) == []


def test_settings_hold_the_content_and_not_the_name():
    assert settings(started(fake_record(), **LITE))["init"] == LITE["init"]
