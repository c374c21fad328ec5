"""A folder of records is read around what is none; a newer record is read without its new parts."""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fake_records import fake_record

from harness import files
from harness.errors import BenchError
from harness.records import store


@pytest.fixture
def said(caplog):
    """Warnings so far, as one text each."""
    store._warn.cache_clear()
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


BROKEN = {
    "empty.json": b"",  # of a full disk
    "cut.json": b'{"schema_version": 1, "run_id": ',
    "._mac.json": b"\x00\x05\x16\x07\x00\x02\xb0",
    "another.json": b'{"packages": []}',
    "word.json": b'"text"',
    "mixed.json": b"[1, 2]",
    "old.json": b'{"schema_version": 0}',
    "short.json": b'{"schema_version": 1}',
    "deep.json": b"[" * 200_000,
    "rather deep.json": b"[" * 400 + b"]" * 400,
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_record_is_named_in_one_line_and_left_out(tmp_path, said, name):
    record = fake_record()
    store.write(record, tmp_path)
    (tmp_path / name).write_bytes(BROKEN[name])
    assert store.read_all(tmp_path) == [record]
    (line,) = said()
    assert str(tmp_path / name) in line
    assert "\n" not in line
    assert store.read_all(tmp_path) == [record]
    assert said() == [line], "said once a process"
    with pytest.raises(BenchError, match=name):
        store.read_all([tmp_path, tmp_path / name])


def test_what_is_no_file_is_never_opened(tmp_path, said, monkeypatch):
    record = fake_record()
    store.write(record, tmp_path)
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "ring.json").symlink_to(tmp_path / "ring.json")
    (tmp_path / "folder.json").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's path has 108 bytes at most
        listener.bind("socket.json")
        assert store.read_all(tmp_path) == [record]
    lines = "\n".join(said())
    for name, kind in {
        "fifo": " is a FIFO",
        "device": " is a device",
        "gone": ": a link to nowhere",
        "ring": ": Too many levels of symbolic links; a readable record expected",
        "folder": " is a folder",
        "socket": " is a socket",
    }.items():
        assert f"{name}.json{kind}" in lines
    assert len(said()) == 6
    with pytest.raises(BenchError, match="is a FIFO, not a file"):
        store.read_all(tmp_path / "fifo.json")


def test_a_file_too_large_for_records_is_not_read(tmp_path, said):
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(files.LARGEST_TEXT + 1)
    assert store.read_all(tmp_path) == []
    assert f"at most {files.LARGEST_TEXT} expected" in said()[0]


def test_a_file_removed_meanwhile_is_not_worth_a_word(tmp_path, said, monkeypatch):
    store.write(fake_record(error="broken"), tmp_path)
    read = store._read_file

    def too_late(path):
        path.unlink()
        return read(path)

    monkeypatch.setattr(store, "_read_file", too_late)
    assert store.read_all(tmp_path) == []
    assert said() == []


def test_links_to_a_file_are_that_file(tmp_path):
    path = store.write(fake_record(), tmp_path / "records")
    (tmp_path / "records" / "link.json").symlink_to(path)
    assert len(store.read_all([tmp_path / "records", path])) == 1


def newer(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_fields_of_a_newer_version_are_left_out(tmp_path):
    record = fake_record()

    def change(content):
        content["new"] = {"a": 1}
        content["cost"]["training"]["new"] = 1
        content["metrics"]["student"]["new"] = [1]

    assert store.read(newer(store.write(record, tmp_path), change)) == record


def test_a_new_field_of_the_spec_is_left_out_at_its_default_only(tmp_path, said):
    record = fake_record()

    def change(content):
        content["spec"]["profile"]["new"] = 0

    path = newer(store.write(record, tmp_path), change)
    assert store.read_all(tmp_path) == [record]

    def rename(content):
        content["run_id"] = "0123456789"  # what a newer version's hash makes of another value

    newer(path, rename)
    assert store.read_all(tmp_path) == []
    assert "spec.profile.new is not known here and changes the run" in said()[0]


def test_what_is_broken_beside_a_new_field_is_named(tmp_path):
    def change(content):
        content["new"] = 1
        del content["created"]

    path = newer(store.write(fake_record(), tmp_path), change)
    with pytest.raises(BenchError, match="broken record, created: Field required"):
        store.read(path)


def test_the_command_line_names_it_once_beside_a_table_that_programs_read(tmp_path):
    store.write(fake_record(), tmp_path / "records")
    (tmp_path / "records" / "empty.json").touch()
    code = "from harness.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "table", "--format", "json", "--results", str(tmp_path)],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(done.stdout)["measured"]) == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("skipped ")
    assert "empty.json is not valid JSON" in line


def test_a_record_is_the_same_whichever_way_its_text_is_read(tmp_path, monkeypatch):
    """Most are read by one step of pydantic; others value by value, cleaned."""
    path = store.write(fake_record(losses={"source": [float("inf"), 2.5]}), tmp_path)
    at_once = store.read(path)
    monkeypatch.setattr(store, "is_plain_json", lambda text: False)
    assert store.read(path) == at_once


@pytest.mark.parametrize("version", ["", '"schema_version": "1",', '"schema_version": true,',
                                     '"schema_version": 2,'])  # fmt: skip
def test_a_record_of_another_schema_is_refused_whichever_way_it_is_read(tmp_path, version):
    path = store.write(fake_record(), tmp_path)
    path.write_text(path.read_text().replace('"schema_version": 1,', version))
    with pytest.raises(BenchError, match=r"schema_version|schema version"):
        store.read(path)


def test_hidden_characters_are_taken_out_of_a_record(tmp_path):
    path = store.write(fake_record(), tmp_path)
    for hidden in ("\x7f", "\\u001b[2J", "\u202e", "\\u202e"):
        path.write_text(path.read_text().replace('"mini-b0"', f'"mini-b0{hidden}"'))
        assert store.read(path).spec.student.removesuffix("[2J") == "mini-b0"
