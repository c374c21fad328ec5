"""Errors that the user can fix, and any error in one line."""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.text import plain

if TYPE_CHECKING:
    from pydantic import ValidationError


#: Exit codes of an interrupted run; 75 is EX_TEMPFAIL of sysexits.h.
CTRL_C, GOES_ON = 130, 75


class BenchError(Exception):
    """Says what was found, what was expected and what to do; the command line exits with 2."""


class DataError(BenchError):
    """A data set is missing, incomplete or malformed."""


class Interrupted(BaseException):
    """A signal ended the run, which goes on where it was when the same command is given again.

    No Exception: nothing that deals with errors may take it for one, as with KeyboardInterrupt.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"interrupted by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, as shells have it; else 75: a scheduler may start the command again."""
        return CTRL_C if self.number == signal.SIGINT else GOES_ON


def in_one_line(error: BaseException) -> str:
    """What went wrong, without the traceback that a loader process hands over as its message.

    Names out of files are in it: nothing that would move the terminal's cursor is.
    """
    text = str(error).strip()
    if text.startswith("Caught "):
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(plain(text).split()) or type(error).__name__


def without_folders(text: str) -> str:
    """The text with each absolute path cut to its last name: records name no machine."""
    return re.sub(r"(?<![\w.])/(?:[^\s:'\"/]+/)+", "", text)


def unknown(what: str, name: str, known: Iterable[str]) -> BenchError:
    """The error for a name that does not exist, with the nearest one that does."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, 0.4)
    remedy = f"did you mean {near[0]!r}? " if near else ""
    return BenchError(f"unknown {what} {name!r}; {remedy}There are: {', '.join(known)}.")


def explain(error: ValidationError) -> str:
    """Pydantic's findings, one clause a field."""
    clauses = []
    for e in error.errors():
        name = ".".join(map(str, e["loc"]))
        # What is missing has no value: pydantic gives all of its surroundings.
        found = "" if e["type"] == "missing" else f" = {e['input']!r}"
        clauses.append(f"{name}{found}: {e['msg']}")
    return "; ".join(clauses)
