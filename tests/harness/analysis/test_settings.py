"""What a table says of settings that are not those of its profile and scenario."""

from __future__ import annotations

from typing import Any

from fake_records import fake_record

from harness.analysis.comparison import comparison
from harness.config import catalogue


def note(scored: str | None = None, **changes: Any) -> list[str]:
    """Of a record of profile photo on its own scenario, with these changes."""
    shipped = catalogue.profile("photo")
    settings = shipped.model_dump() | {
        "image_size": {name: shipped.image_size[name] for name in ("gta5", "cityscapes")},
        "longest_side": None,  # as a run resolves them
        "init": None,
        "teacher_init": None,
    }
    record = fake_record(profile={**settings, **changes})
    if scored:
        scenario = record.spec.scenario.model_copy(update={"eval_split": scored})
        spec = record.spec.model_copy(update={"scenario": scenario})
        record = record.model_copy(update={"spec": spec})
    (table,) = comparison([record])
    return [line for line in table.notes if "otherwise than by" in line]


def test_a_run_as_its_profile_has_it_needs_no_word():
    assert note() == []
    assert note(student="mini_s", workers=4, log_every=7) == []


def test_a_multiple_of_the_schedule_is_named_by_its_row():
    assert note(iterations=2000, length=2) == []


def test_what_is_set_otherwise_is_said_with_both_values():
    assert note("train", iterations=500, lr=0.5) == [
        "Set otherwise than by profile photo and scenario gta2cs: scored split train instead of "
        "val; iterations 500 instead of 1000; lr 0.5 instead of 0.001."
    ]


def test_of_a_setting_with_keys_those_that_differ_are_said():
    usual = catalogue.profile("photo").image_size
    assert note(image_size={"gta5": (192, 96), "cityscapes": usual["cityscapes"]}) == [
        "Set otherwise than by profile photo and scenario gta2cs: "
        f"image_size.gta5 [192, 96] instead of {list(usual['gta5'])}."
    ]


def test_of_other_editions_and_profiles_nothing_is_known():
    assert note(edition=7, lr=0.5) == []
    assert note(name="somebodys", lr=0.5) == []


def test_a_record_leads_to_no_file_of_the_readers(tmp_path, monkeypatch):
    shipped = catalogue.BENCHMARKS / "profiles/photo.toml"
    (tmp_path / "mine.toml").write_text(shipped.read_text())
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", str(tmp_path / "mine.toml"), "../profiles/photo"):
        assert note(name=name, lr=0.5) == []


def test_runs_of_other_plug_in_code_are_rows_of_their_own():
    made = [fake_record("source_only", seed, 30) for seed in range(3)]
    for number in range(3):
        record = fake_record("mine", 0, 40 + number)
        codes = {"mine": f"{number:x}" * 64}
        spec = record.spec.model_copy(update={"plugins": codes})
        made.append(record.model_copy(update={"spec": spec, "run_id": spec.run_id}))
    (table,) = comparison(made)
    of_plug_in = [row for row in table.rows if row.method == "mine"]
    assert [row.label for row in of_plug_in] == [
        f"mine (plug-in={str(number) * 8})" for number in range(3)
    ]
    assert [row.scores for row in of_plug_in] == [(40,), (41,), (42,)]


def test_what_images_are_learned_from_and_what_their_classes_become_parts_tables():
    changes: list[dict[str, Any]] = [
        {},
        {"target_split": "val"},
        {"source_classes": {"rider": "ignored"}},
    ]
    made = []
    for number, changed in enumerate(changes):
        record = fake_record("daformer", 0, 40 + number)
        scenario = record.spec.scenario.model_copy(update=changed)
        spec = record.spec.model_copy(update={"scenario": scenario})
        made.append(record.model_copy(update={"spec": spec, "run_id": spec.run_id}))
    tables = comparison(made)
    assert len(tables) == 3
    assert all(row.miou.n == 1 for table in tables for row in table.rows)
    headings = " | ".join(table.heading for table in tables)
    assert "target split val" in headings
    assert 'source classes {"rider": "ignored"}' in headings


def test_a_knob_that_older_records_leave_out_is_said_to_be_at_its_default():
    configs = ({"distance": "mse"}, {"distance": "kl"}, {"distance": "mse", "training": "adabn"})
    (table,) = comparison([fake_record("dualkd", config=config) for config in configs])
    said = "dualkd, where its row does not say otherwise: distance=mse, training=its default."
    assert said in table.notes
