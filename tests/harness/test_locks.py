"""Locks between processes, where a file system has them and where it has none."""

from __future__ import annotations

import errno
import fcntl
import threading

import pytest
from bench_cli import QUICK, bench

from harness.locks import one_at_a_time


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    """A file system that locks nothing, as some that lie on a network."""

    def refuse(file: object, operation: int) -> None:
        raise OSError(request.param, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_second_process_waits_for_the_first(tmp_path):
    waited, entered = threading.Event(), threading.Event()

    def second() -> None:
        with one_at_a_time(tmp_path / ".lock", waited.set):
            entered.set()

    with one_at_a_time(tmp_path / ".lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(30)
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()


def test_where_files_cannot_be_locked_nobody_waits_and_that_is_said(tmp_path, no_locks):
    (tmp_path / ".lock").touch()  # of a process that was killed
    said: list[str] = []
    with one_at_a_time(tmp_path / ".lock", say=said.append):
        pass
    assert [f"files in {tmp_path} cannot be locked" in line for line in said] == [True]


@pytest.mark.usefixtures("no_locks")
def test_a_run_needs_no_locks(tmp_path):
    results = tmp_path / "runs"
    outcome = bench(
        "run", "--method", "source_only", "--scenario", "gta2cs", *QUICK, "--results", results
    )
    assert outcome.code == 0, outcome.err
    assert "cannot be locked" in outcome.out
    assert "inference speed not measured" not in outcome.out


def test_a_lock_file_has_the_mode_that_the_umask_leaves(tmp_path, monkeypatch):
    import os

    before = os.umask(0o002)
    try:
        with one_at_a_time(tmp_path / ".lock"):
            assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)
