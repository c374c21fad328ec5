import json
import math
from pathlib import Path

import pytest
from fake_records import fake_record
from pydantic import BaseModel

from harness import files
from harness.config import schema as config_schema
from harness.errors import BenchError
from harness.records import schema as records_schema
from harness.records import store

DOCS = Path(__file__).parents[3] / "docs" / "records.md"
MODELS = [
    model
    for module in (records_schema, config_schema)
    for model in vars(module).values()
    if isinstance(model, type)
    and issubclass(model, BaseModel)
    and model.__module__ == module.__name__
    and model.model_fields
]


def test_a_record_comes_back_equal_from_a_file_named_after_its_run(tmp_path):
    record = fake_record("daformer", seed=2, miou=33.3, ema_miou=34.0)
    path = store.write(record, tmp_path / "new" / "folder")
    assert path.name == f"daformer-gta2cs-tiny-mini_b0-s2-{record.run_id}.json"
    assert store.read(path) == record
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_file_is_strict_json_with_a_matrix_row_a_line(tmp_path):
    record = fake_record(losses={"source": [1.5, math.nan, math.inf]})
    path = store.write(record, tmp_path)
    text = path.read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    row = json.dumps(record.metrics.student.confusion[3])
    assert sum(line.strip().rstrip(",") == row for line in text.splitlines()) == 1
    back = store.read(path).metrics.losses["source"]
    assert back[0] == 1.5
    assert math.isnan(back[1])
    assert back[2] == math.inf


def test_a_network_named_by_a_path_stays_inside_the_folder(tmp_path):
    path = store.write(fake_record(student="mmseg:configs/../a b.py"), tmp_path)
    assert path.parent == tmp_path
    assert path.exists()


def test_a_failed_run_never_replaces_a_done_one(tmp_path):
    done = store.write(fake_record(miou=30), tmp_path)
    failed = store.write(fake_record(error="out of memory"), tmp_path)
    assert failed.name == done.name.replace(".json", ".failed.json")
    assert store.read(done).state == "done"
    assert store.read(failed).error == "out of memory"


def test_a_done_run_removes_its_own_failed_record_only(tmp_path):
    own = store.write(fake_record(seed=0, error="broken"), tmp_path)
    other = store.write(fake_record(seed=1, error="broken"), tmp_path)
    store.write(fake_record(seed=0), tmp_path)
    assert not own.exists()
    assert other.exists()


def test_an_interrupted_write_leaves_the_old_record(tmp_path, monkeypatch):
    path = store.write(fake_record(miou=30), tmp_path)

    def power_cut(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "fsync", power_cut)
    with pytest.raises(OSError, match="no space"):
        store.write(fake_record(miou=40), tmp_path)
    assert store.read(path).metrics.student.miou == 30
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not valid JSON"),
        ("{}", "not a record"),
        ("[]", "0 records found"),
        ('{"schema_version": 99}', "schema version 99 found, 1 expected"),
        ('{"schema_version": 1}', "run_id: Field required"),
    ],
)
def test_a_broken_file_is_named_with_its_reason(tmp_path, text, reason):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=reason) as error:
        store.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_the_users_error(tmp_path):
    with pytest.raises(BenchError, match="no such file"):
        store.read_all(tmp_path / "nowhere.json")


def test_read_all_sorts_by_run_and_reads_a_file_once(tmp_path):
    runs = [fake_record("oracle", 1), fake_record("daformer", 10), fake_record("daformer", 2)]
    files = [store.write(run, tmp_path / "sub") for run in runs]
    read = store.read_all([tmp_path, *files])
    assert [(r.spec.method, r.spec.seed) for r in read] == [
        ("daformer", 2),
        ("daformer", 10),
        ("oracle", 1),
    ]


def test_a_list_of_records_reads_as_all_of_them(tmp_path):
    runs = [fake_record(seed=seed) for seed in range(3)]
    assert store.read_all(store.write_list(runs, tmp_path / "baseline.json")) == runs


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_docs_name_every_field_of_every_model(model):
    section = DOCS.read_text().split(f"## {model.__name__}\n", 1)
    assert len(section) == 2, f"docs/records.md has no section {model.__name__}"
    body = section[1].split("\n## ", 1)[0]
    missing = [name for name in model.model_fields if f"| `{name}` |" not in body]
    assert not missing
