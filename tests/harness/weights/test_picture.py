"""Which runs the README's picture shows."""

from __future__ import annotations

import pytest
from fake_records import fake_record

from harness.errors import BenchError
from harness.records import store
from harness.weights import picture


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Keeps records of runs, so long as each says, all of the suite."""
    ids = set()

    def keep(*runs: tuple[str, int]) -> None:
        for method, steps in runs:
            record = fake_record(method, 0, profile={"iterations": steps})
            ids.add(record.run_id)
            store.write(record, tmp_path / "records")

    monkeypatch.setattr(picture, "run_ids", lambda suite: ids)
    return keep


def test_all_methods_of_the_picture_trained_as_long(kept, tmp_path):
    kept(*((method, steps) for method in picture.METHODS for steps in (400, 800)))
    kept(("source_only", 1600))
    chosen = picture._records(tmp_path, "gta2cs")
    assert [record.spec.method for record in chosen] == list(picture.METHODS)
    assert {record.spec.profile.iterations for record in chosen} == {800}


def test_without_a_schedule_that_all_have_there_is_no_picture(kept, tmp_path):
    kept(*((method, 800) for method in picture.METHODS[1:]), ("source_only", 400))
    with pytest.raises(BenchError, match="no schedule at which all of source_only, daformer"):
        picture._records(tmp_path, "gta2cs")
