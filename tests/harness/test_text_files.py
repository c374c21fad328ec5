"""Text of any system is read as one; what is no text is refused in one line."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.files import decoded, read_json, read_text, write_text

LINES = "train/éé_01.png\nsecond\n"
AS_OTHERS_WRITE_IT = {
    "UTF-8": LINES.encode(),
    "UTF-8 of Notepad": b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode(),
    "UTF-16 of PowerShell": b"\xff\xfe" + LINES.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + LINES.encode("utf-16-be"),
    "UTF-16 without a mark": LINES.encode("utf-16-le"),
    "UTF-16, big end first, without a mark": LINES.encode("utf-16-be"),
    "UTF-32": b"\xff\xfe\0\0" + LINES.encode("utf-32-le"),
    "UTF-32, big end first": b"\0\0\xfe\xff" + LINES.encode("utf-32-be"),
    "lines of the old Macintosh": LINES.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("system", AS_OTHERS_WRITE_IT)
def test_text_of_any_system_is_the_same(system, tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(AS_OTHERS_WRITE_IT[system])
    assert read_text(file) == LINES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"good\nlatin-1: \xe9t\xe9\n", r"UTF-8 \(byte 0xe9 in line 2\); save it again as UTF-8"),
        (b"\xff\xfea", "UTF-16-LE"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "UTF-8"),
        (b"PK\3\4\0\0\0\0", "NUL"),
    ],
)
def test_what_is_no_text_says_where(content, said):
    with pytest.raises(ValueError, match=said):
        decoded(content)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_text_or_a_value_error(content):
    try:
        said = decoded(content)
    except ValueError as error:
        said = str(error).replace("\n", "\r")
    assert "\r" not in said


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1))
def test_utf_8_is_never_taken_for_another_encoding(text):
    assert decoded(text.removeprefix("\ufeff").encode()) == text.removeprefix("\ufeff")


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "1" * 5000, '{"a": 1}}'])
def test_broken_json_is_a_value_error(content, tmp_path):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="is not valid JSON"):
        read_json(tmp_path / "x.json")


def test_a_name_that_is_no_text_is_written_as_json_escapes_it(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    write_text(tmp_path / "x.json", f'{{"file": "{name}"}}\n')
    assert (tmp_path / "x.json").read_bytes() == b'{"file": "caf\\udce9.png"}\n'
    assert read_json(tmp_path / "x.json") == {"file": name}
