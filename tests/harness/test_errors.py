"""Errors in one line: those of libraries in words of the command line, and values cut short."""

from __future__ import annotations

import errno

import pytest
import torch
from pydantic import BaseModel, ValidationError

from harness.errors import explain, explained, in_one_line, of_a_file, unexpected


def raised(call) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def too_large() -> None:
    torch.empty(2**50)


def backward_twice() -> None:
    loss = torch.ones(1, requires_grad=True).square().sum()
    loss.backward()
    loss.backward()


def state_that_moves() -> None:
    state = torch.ones(1)
    loss = (torch.ones(1, requires_grad=True) * state).sum()
    state.add_(1)
    loss.backward()


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: torch.nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1)), "--set batch_size=2"),
        (lambda: torch.nn.BatchNorm1d(4)(torch.zeros(1, 4)), "--set batch_size=2"),
        (backward_twice, "the terms of one forward in one group"),
        (state_that_moves, "the change after the `yield`"),
        (too_large, "out of memory"),
        (lambda: bytearray(2**62), "out of memory"),
    ],
)
def test_a_librarys_error_is_said_in_words_of_the_command_line(call, remedy):
    assert remedy in explained(raised(call))


def test_any_other_error_names_its_line():
    error = raised(lambda: {}["key"])
    assert explained(error) == ""
    assert unexpected(error).startswith("KeyError: 'key' (line ")
    assert "test_errors.py" in unexpected(error)


def test_a_refused_value_is_cut_short():
    class Knobs(BaseModel):
        steps: int

    with pytest.raises(ValidationError) as refusal:
        Knobs(steps="9" * 5000)
    assert len(explain(refusal.value)) < 300


def test_a_value_of_none_of_several_types_is_one_clause():
    class Knobs(BaseModel):
        ends: tuple[int | float, ...]
        share: float

    with pytest.raises(ValidationError) as refusal:
        Knobs(ends=(0, "a"), share="half")
    ends, share = explain(refusal.value).split("; ")
    assert ends == "ends.1 = 'a': Input should be a valid integer or number"
    assert share.startswith("share = 'half': Input should be a valid number, unable to parse")


def test_a_full_disk_asks_for_room_and_no_error_of_the_system_shows_its_number():
    full = OSError(errno.ENOSPC, "No space left on device", "/disk/record.json")
    assert in_one_line(full) == "/disk/record.json: No space left on device"
    assert "expected room on that disk" in of_a_file(full)
    denied = PermissionError(errno.EACCES, "Permission denied", "/disk/record.json")
    assert "the rights to it" in of_a_file(denied)
    assert of_a_file(OSError(errno.ENOLCK, "No locks available")) == "No locks available"
