"""Figures out of a record that are no figures: refused with the file, or shown as none."""

from __future__ import annotations

import copy
import json
import math

import pytest
from fake_records import fake_record

from harness.analysis.regression import compare
from harness.errors import BenchError
from harness.records import store
from harness.report.formats import render

GOOD = fake_record(ema_miou=31.0)
VALUES = [
    math.nan,
    math.inf,
    -math.inf,
    0,
    -1,
    1e308,
    10**400,
    5e-324,
    "NaN",
    None,
    [],
    {},
    "\x1b[2J",
]


def numbers(value, path=()):
    """The way to every number, of lists to the first."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, (*path, key))
    elif isinstance(value, list) and value:
        yield from numbers(value[0], (*path, 0))
    elif isinstance(value, int | float):
        yield path


PARTS = ("metrics", "cost", "spec")
PLAIN = json.loads(store.as_json(GOOD))


@pytest.mark.parametrize(
    "path", [p for p in numbers(PLAIN) if p[0] in PARTS], ids=lambda p: "/".join(map(str, p))
)
def test_no_figure_of_a_record_stops_a_table_or_a_check(path, tmp_path):
    file = tmp_path / "record.json"
    for value in VALUES:
        content = copy.deepcopy(PLAIN)
        part = content
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = value
        file.write_text(json.dumps(content))
        try:
            record = store.read(file)
        except BenchError:
            continue
        assert "\x1b" not in render([record], "markdown")
        for old, new in ((record, GOOD), (GOOD, record)):
            compare([old], [new]).render()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tables_and_check_say_that_a_score_is_no_number(value):
    broken = [fake_record(miou=value, seed=seed) for seed in range(3)]
    shown = render(broken, "markdown")
    assert "Warning: a run of source_only has an mIoU that is no number" in shown
    assert "| nan" not in shown
    assert "± nan" not in shown
    good = [fake_record(seed=seed) for seed in range(3)]
    assert "is no number" not in render(good, "markdown")
    assert compare(good, broken).exit_code == 1 or value == math.inf
