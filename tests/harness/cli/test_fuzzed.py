"""No command line ends in a traceback."""

from __future__ import annotations

from fuzz_command_line import fuzz


def test_no_command_line_ends_in_a_traceback():
    assert fuzz(100) == []
