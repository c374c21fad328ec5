"""Tables say what weights the encoders of their runs started from."""

import pytest
from fake_records import fake_record

from harness.analysis.comparison import comparison
from harness.analysis.variants import settings
from harness.report.formats import render

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
    return [line for line in table.shared if line.startswith("Weights that encoders start from")]


def test_rows_that_differ_in_them_say_which():
    assert labels(started(fake_record("dacs"), **LITE), fake_record("dacs")) == {
        "dacs (init=57934424)",
        "dacs (init=random)",
    }


def test_a_row_names_weights_other_than_those_of_most_rows():
    """Of all methods' rows: what no row says is one start of a network, whatever the method."""
    records = [
        started(fake_record("dacs", student="b0", config={"ema": n}), **(LITE if n else {}))
        for n in range(3)
    ]
    others = [started(fake_record(name, student="b0"), **LITE) for name in ("advent", "mic")]
    other = fake_record("advent", student="b0")
    assert labels(*records, *others, other) == {
        "dacs (ema=0, init=random)", "dacs (ema=1)", "dacs (ema=2)",
        "advent", "advent (init=random)", "mic",
    }  # fmt: skip
    assert note(*records, *others, other) == [
        "Weights that encoders start from: b0: 57934424 (efficientnet-lite0-57934424.pth) or "
        "random where a row says so."
    ]


def test_frozen_teachers_of_two_networks_name_their_weights_where_one_has_several():
    teachers = [
        {"network": "b0", "weights_id": "u", **LITE},
        {"network": "b1", "weights_id": "v", **TEACHER},
        {"network": "b1", "weights_id": "w"},
    ]
    runs = [fake_record("dualkd", teachers=[teacher], student="b0") for teacher in teachers]
    longer = fake_record("dualkd", teachers=teachers[1:2], profile={"teacher_iterations": 9999})
    read = {"network": "b1", "checkpoint_sha256": "abc", "checkpoint": "a.pth"}
    runs = [started(run, **LITE) for run in (*runs, longer, fake_record("dualkd", teachers=[read]))]
    (table,) = comparison(runs)
    assert sum("teacher_init" in row.label for row in table.rows) == 1
    assert any("teacher_init=random" in row.label for row in table.rows)


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


def test_a_teacher_of_the_students_network_starts_as_it_does_unless_it_says_otherwise():
    unsaid = {"network": "b0", "weights_id": "u"}
    random = {"network": "b0", "weights_id": "v", "init": None}
    runs = [fake_record("dualkd", teachers=[t], student="b0") for t in (unsaid, random)]
    assert labels(*(started(run, **LITE) for run in runs)) == {
        "dualkd (teacher_init=57934424)",
        "dualkd (teacher_init=random)",
    }
    alone = started(fake_record("dualkd", teachers=[unsaid], student="b0"), **LITE)
    source_only = started(fake_record("source_only", student="b0"), **LITE)
    assert labels(alone, source_only) == {"dualkd", "source_only"}


def test_rows_whose_networks_tell_their_weights_do_not_name_them():
    """Weights are said once, above the table; the column of students does the rest."""
    other = started(fake_record("dacs", student="b1"), **TEACHER)
    records = [started(fake_record("dacs", student="b0"), **LITE), other]
    assert labels(*records) == {"dacs"}
    (table,) = comparison(records)
    assert list(table.runs) == ["dacs of b0", "dacs of b1"]
    assert note(*records) == [
        "Weights that encoders start from: b0: 57934424 (efficientnet-lite0-57934424.pth); "
        "b1: 77cc7160 (efficientnet-lite1-77cc7160.pth)."
    ]
    third = fake_record("dacs", student="b1")
    assert labels(*records, third) == {
        "dacs", "dacs (init=77cc7160)", "dacs (init=random)"
    }  # fmt: skip


def test_what_most_networks_start_from_is_no_usual_setting_where_they_tell_it():
    records = [fake_record("dacs", student=f"b{n}") for n in range(3)]
    records[0] = started(records[0], **LITE)
    (table,) = comparison(records)
    assert {row.label for row in table.rows} == {"dacs"}
    assert not any("does not say otherwise" in line for line in table.notes)


def test_frozen_teachers_that_differ_tell_their_own_weights():
    teachers = [
        {"network": "b1", "weights_id": "w", **TEACHER},
        {"network": "b2", "weights_id": "v"},
    ]
    runs = [fake_record("dualkd", teachers=[teacher]) for teacher in teachers]
    assert labels(*runs) == {"dualkd"}
    assert list(comparison(runs)[0].runs) == ["dualkd <- b1", "dualkd <- b2"]


@pytest.mark.parametrize("form", ["markdown", "html", "latex", "rich"])
def test_what_rows_share_stands_once_and_above_them(form):
    records = [started(fake_record("dacs", student="b0"), **LITE), fake_record(student="b0")]
    text = " ".join(render(records, form).split())
    assert text.count("Student b0, at the last iteration.") == 1
    if form != "latex":  # there all that is said stands below
        assert text.index("Student b0,") < text.index("source_only")


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


def test_a_teacher_of_the_students_network_starts_as_the_student_does():
    """Where it was given no weights of its own; then no network here starts at random."""
    teacher = {"network": "b0", "weights_id": "u"}
    records = [started(fake_record(m, student="b0", teachers=[teacher]), **LITE) for m in "ab"]
    assert note(*records) == [
        "Weights that encoders start from: b0: 57934424 (efficientnet-lite0-57934424.pth)."
    ]
    assert labels(*records) == {"a", "b"}
