"""Files and folders written whole: nothing half-written, nothing left over, ordinary modes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from real_formats import write_gta5

from harness import files
from harness.data.datasets import open_dataset
from harness.data.rare_class import cache_dir, class_statistics
from harness.errors import BenchError
from harness.files import (
    folder_replaced_whole,
    folder_written_whole,
    remove_abandoned,
    temporary_name,
    this_machine,
    write_text,
    written_whole,
)


class BrokenOffError(Exception):
    pass


def break_off_after(_written: object) -> None:
    raise BrokenOffError


@pytest.fixture
def umask_022():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def full(name: Path | None) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", name and str(name))


def test_what_writing_raises_names_the_file_and_not_its_temporary_name(tmp_path):
    path, folder = tmp_path / "record.json", tmp_path / "step-2"
    with pytest.raises(OSError, match="No space") as unnamed, written_whole(path):
        full(None)  # as writing to an open file does
    with pytest.raises(OSError, match="No space") as temporary, written_whole(path) as partial:
        full(partial)
    with pytest.raises(OSError, match="No space") as below, folder_written_whole(folder) as new:
        full(new / "tensors")
    with pytest.raises(OSError, match="No space") as other, written_whole(path):
        full(tmp_path / "other")
    named = [caught.value.filename for caught in (unnamed, temporary, below, other)]
    assert named == [str(path), str(path), str(folder), str(tmp_path / "other")]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_failure_midway_leaves_the_old_file_and_no_temporary(tmp_path, old):
    path = tmp_path / "below" / "file.txt"
    if old:
        write_text(path, old)
    with pytest.raises(BrokenOffError), written_whole(path) as partial:
        break_off_after(partial.write_text("half"))
    assert names(path.parent) == (["file.txt"] if old else [])
    assert not old or path.read_text() == old


def test_a_file_that_its_writer_renamed_away_leaves_nothing_else(tmp_path):
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "file") as partial:
        partial.unlink()
    assert names(tmp_path) == []


def test_nobody_sees_a_file_before_it_is_whole(tmp_path):
    path = write_text(tmp_path / "file.txt", "old")
    with written_whole(path) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


def test_files_and_folders_are_readable_by_others(tmp_path, umask_022):
    assert mode(write_text(tmp_path / "text", "")) == 0o644
    with written_whole(tmp_path / "private") as partial:
        partial.chmod(0o600)  # as writers with a temporary file of their own do
    assert mode(tmp_path / "private") == 0o644
    with folder_written_whole(tmp_path / "folder"):
        pass
    assert mode(tmp_path / "folder") == 0o755


def test_class_statistics_are_readable_by_others(tmp_path, umask_022):
    write_gta5(tmp_path, 1)
    class_statistics(open_dataset("gta5", tmp_path, "train"))
    (cached,) = (cache_dir() / "class_stats").iterdir()
    assert mode(cached) == 0o644


@pytest.mark.parametrize("count", [0, 1, files._BLOCK, 5 * files._BLOCK + 3])
def test_files_are_mapped_in_their_order(count):
    names = [Path(f"{number}") for number in range(count)]
    assert list(files.map_files(lambda path: int(path.name), names)) == list(range(count))


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(BrokenOffError), folder_written_whole(path) as building:
        break_off_after((building / "file").touch())
    assert names(tmp_path) == []
    path.mkdir()
    with folder_written_whole(path) as building:
        (building / "file").touch()
        assert names(path) == []
    assert names(path) == ["file"]
    with pytest.raises(OSError), folder_written_whole(path) as building:  # noqa: PT011
        (building / "other").touch()
    assert names(path) == ["file"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_of_ours_is_replaced_whole_and_comes_back_where_that_fails(tmp_path, monkeypatch):
    path = tmp_path / "folder"

    def replaced(name, broken=False):
        with folder_replaced_whole(path, "--out", "export", {"a", "b"}, is_ours) as building:
            (building / name).touch()
            if broken:
                raise BrokenOffError

    def is_ours(folder):
        return (folder / "a").exists()

    replaced("a")
    with pytest.raises(BrokenOffError):
        replaced("b", broken=True)
    assert names(path) == ["a"]
    rename = Path.rename

    def refusing(source, target):
        if target == path and source.name.endswith(".tmp") and (source / "b").exists():
            raise PermissionError(1, "Operation not permitted")
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refusing)
        with pytest.raises(BenchError, match="cannot be replaced"):
            replaced("b")
    assert names(path) == ["a"]
    replaced("b")
    assert names(path) == ["b"]
    with pytest.raises(BenchError, match=r"--out .* holds b; .* or an earlier export"):
        replaced("a")
    assert names(tmp_path) == ["folder"]


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = this_machine()
    kept = [".a.mine-12.tmp", f".a.{os.getppid()}-{here}-12.tmp", f".b.{dead.pid}-{here}-12.tmp"]
    for name in (f".a.{dead.pid}-{here}-12.tmp", *kept[1:]):
        (tmp_path / name).mkdir()
    (tmp_path / f".a.{dead.pid}-{here}-34.tmp").touch()
    (tmp_path / ".a.mine-12.tmp").touch()
    remove_abandoned(tmp_path / "a")
    assert names(tmp_path) == sorted(kept)
    remove_abandoned(tmp_path / "*")
    assert names(tmp_path) == sorted(kept[:2])


def test_what_another_machine_writes_stays_until_nothing_has_been_written_for_long(tmp_path):
    """Its process ids say nothing here: a dead one of ours may be a living one there."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living, old, nameless = (f".a.{dead.pid}-{tag}.tmp" for tag in ("0ther-1", "0ther-2", "3"))
    for name in (living, old, nameless):
        (tmp_path / name).mkdir()
    long_ago = time.time() - files.ABANDONED_SECONDS - 60
    os.utime(tmp_path / old, (long_ago, long_ago))
    remove_abandoned(tmp_path / "a")
    assert names(tmp_path) == sorted([living, nameless])


def test_a_temporary_name_says_whose_process_it_is(tmp_path, monkeypatch):
    ours = temporary_name(tmp_path / "a")
    monkeypatch.setattr(files, "this_machine", lambda: "0ther")
    theirs = temporary_name(tmp_path / "a")
    assert f".{os.getpid()}-{this_machine()}-" in ours.name
    assert f".{os.getpid()}-0ther-" in theirs.name
