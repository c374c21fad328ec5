"""A file's content is hashed again whenever it may have changed, and only then."""

from __future__ import annotations

import os
import time

import pytest

from harness import files
from harness.errors import BenchError
from harness.files import file_hash, known_hash

LONG_AGO = 10**9  # nanoseconds after 1970


@pytest.fixture
def read(monkeypatch):
    """How often a file's content is read; the clock stands a minute ahead of the files."""
    times = []

    def counted(path):
        times.append(path)
        return file_hash(path)

    monkeypatch.setattr(files, "file_hash", counted)
    ahead = time.time_ns() + 60 * 10**9
    monkeypatch.setattr(files.time, "time_ns", lambda: ahead)
    return times


def test_an_unchanged_file_is_read_once(read, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    assert known_hash(file) == known_hash(file) == file_hash(file)
    assert len(read) == 1


def test_a_file_of_the_same_size_and_date_is_another_once_it_was_written(read, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    before = known_hash(file)
    time.sleep(0.05)  # a tick of the file system's clock
    file.write_bytes(b"two")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    assert known_hash(file) == file_hash(file) != before


def test_a_file_that_has_just_changed_is_read_again(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    before = known_hash(file)
    file.write_bytes(b"two")  # perhaps within the same tick
    assert known_hash(file) == file_hash(file) != before


def test_a_file_that_is_gone_is_said(tmp_path):
    with pytest.raises(BenchError, match=r"none\.pth: No such file or directory; expected"):
        known_hash(tmp_path / "none.pth")
