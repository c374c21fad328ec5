"""Text of strangers is harmless in every format; any terminal can show ours."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import subprocess
import sys

import pytest
from fake_records import fake_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.records import store
from harness.report.formats import FORMATS, render
from harness.text import (
    DEEPEST,
    csv_text,
    is_plain_json,
    markdown_text,
    plain,
    plain_values,
)

HOSTILE = [
    "\x1b[2J\x1b]8;;http://evil.example\x07click",
    "safe\u202egnp.exe",
    "\u2066isolated\u2069",
    "two\nlines\r\nthree\u2028four\tfive",
    "a | b | c",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[click](http://evil.example) ![x](http://evil.example/x.png)",
    "[click][ref]\n\n[ref]: http://evil.example",
    '=HYPERLINK("http://evil.example")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "＝1+1",  # noqa: RUF001
    r"\input{/etc/passwd} 50% of $x$ & #1 {x} ~ ^",
    "[red]markup[/red] [/]",
]
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800]")


def records(text):
    """Two runs, one of them failed, with the text wherever a record has one of its own choice."""
    done = fake_record(method=text, student=text, profile={"name": text})
    done = done.model_copy(update={"provenance": {"cpu": {"model": text}, "gpu": None}})
    return [done, fake_record(method=text, student=text, seed=1, error=text)]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("text", HOSTILE)
def test_no_format_lets_a_record_speak(text, format_):
    shown = render(records(text), format_, per_class=True)
    assert not UNSEEN.search(shown)
    if format_ == "markdown":
        assert "<script" not in shown
        assert not re.search(r"(?<!\\)\](\(|\[|:)", shown)
        tables = [line for line in shown.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in tables}) <= 2, "main, classes"
    elif format_ == "html":
        assert "<script" not in shown
        assert "<img" not in shown
        assert plain(text).split()[0][:5] in html.unescape(shown)
    elif format_ == "csv":
        for line in csv.DictReader(io.StringIO(shown)):
            for cell in line.values():
                assert not re.match(r"\s*[=+@＝]|-\D", cell), cell  # noqa: RUF001
    elif format_ == "latex":
        assert "\\input" not in shown
    elif format_ == "json":
        rows = [row for table in json.loads(shown)["measured"] for row in table["rows"]]
        assert plain(text) in {row["method"] for row in rows}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_text_is_shown_by_every_format(text):
    for format_ in FORMATS:
        assert not UNSEEN.search(render(records(text), format_))


def test_a_record_is_cleaned_where_it_is_read(tmp_path):
    record = json.loads(store.as_json(fake_record(error="plain")))
    record["error"] = "\x1b[31mred\u202e\nsecond"
    record["spec"]["method"] = "evil\u2066"
    (tmp_path / "a.json").write_text(json.dumps(record))
    read = store.read(tmp_path / "a.json")
    assert read.error == "[31mred second"
    assert read.spec.method == "evil"


def test_a_name_that_is_no_text_does_not_stop_a_record(tmp_path):
    record = fake_record(student=os.fsdecode(b"mmseg:caf\xe9.py"), error="\udce9 is broken")
    read = store.read(store.write(record, tmp_path))
    assert (read.spec.student, read.error) == ("mmseg:caf.py", " is broken")


def test_what_is_harmless_stays_as_it_is():
    for text in (
        "GTA5 -> Cityscapes",
        "26.5 ± 0.8 (3)",
        "+4.2 [1.0, 7.4] ~",
        "Straße, 街",
        "a_b*c",
    ):
        assert plain(text) == markdown_text(text) == text
    assert csv_text("-0.25") == "-0.25"
    values = {"a": [1, None, "x"], "b": {"c": 2.5}}
    assert plain_values(values) == values


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "latin-1", "cp1252", "C"],
)
def test_any_terminal_shows_what_it_can(environment):
    code = (
        "from harness.text import any_terminal; any_terminal(); import sys;"
        "print('26.5 \\u00b1 0.8 \\u2192 \\u8857 \\udce9'); print('\\u2192', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert b"26.5" in done.stdout
    assert b"> \\u8857 \\udce9" in done.stdout
    assert done.stderr == b">\n"


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "text", ['{"a": ["b c", 1, null]}', "[]", "7", nested(DEEPEST), '{"]": "[[[", "a b": [{}]}']
)
def test_a_json_text_is_seen_to_be_plain(text):
    assert is_plain_json(text)
    assert plain_values(json.loads(text)) == json.loads(text)


@pytest.mark.parametrize(
    "text", ['"\x7f"', '"\\u001b"', '"\\n"', '"\\u202e"', '"\u202e"', nested(DEEPEST + 1),
             '{"]]]]": ' + nested(DEEPEST) + "}"],
)  # fmt: skip
def test_a_json_text_that_may_be_changed_is_never_taken_for_plain(text):
    assert not is_plain_json(text)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_what_is_taken_for_plain_is_what_cleaning_would_leave(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert plain_values(value) == value or not is_plain_json(text)
