"""Errors that are the user's to mend, and any error in one line."""

from __future__ import annotations

import re


class BenchError(Exception):
    """Says what was found, what was expected and what to do; the command line exits with 2."""


class DataError(BenchError):
    """A data set is missing, incomplete or malformed."""


def in_one_line(error: BaseException) -> str:
    """What went wrong, without the traceback that a loader process hands over as its message."""
    text = str(error).strip()
    if text.startswith("Caught "):
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split()) or type(error).__name__


def without_folders(text: str) -> str:
    """The text with each absolute path cut to its last name: records name no machine."""
    return re.sub(r"(?<![\w.])/(?:[^\s:'\"/]+/)+", "", text)
