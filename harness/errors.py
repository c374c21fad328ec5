"""Errors that the user can fix, and any error in one line."""

from __future__ import annotations

import difflib
import errno
import re
import reprlib
import signal
import traceback
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
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if of_a_worker(error):
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(plain(text).split()) or type(error).__name__


def of_a_worker(error: BaseException) -> bool:
    """Whether a loader process has handed the error over, as its traceback."""
    return str(error).lstrip().startswith("Caught ")


WORKER_ENDED = (
    "a loader worker ended on its own, perhaps out of memory or of shared memory (/dev/shm); try "
    "fewer, or none: --set workers=0"
)
#: What a library's error says -> what it means here, and what to do.
REMEDIES = {
    "Expected more than 1 value per channel": "a batch of one image whose coarsest map is one "
    "pixel: batch normalisation needs more than one value a channel; expected a larger batch or "
    "crop: --set batch_size=2, or --set crop=HEIGHT,WIDTH",
    "DataLoader worker (pid": WORKER_ENDED,
    "backward through the graph a second time": "a group of terms needs a forward that an earlier "
    "group's backward has freed; expected the terms of one forward in one group, and .detach() on "
    "what a later group takes from it",
    "modified by an inplace operation": "what a term needs changes in place before the term is "
    "backpropagated; expected the change after the `yield`, or the term to be made from a .clone()",
    "ried to allocate": "out of memory; expected it to fit: try "
    "--set batch_size=1, or a smaller --set crop=HEIGHT,WIDTH",
}


def of_a_file(error: OSError) -> str:
    """An error of the operating system in words, with the file that it is about."""
    if error.filename is None or not error.strerror:
        return in_one_line(error)
    name = " ".join(plain(str(error.filename)).split())
    expected = "a path that can be read or written: correct it, or the rights to it"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        expected = "room on that disk: free some, then give the same command again"
    return f"{name}: {error.strerror}; expected {expected}."


def explained(error: BaseException) -> str:
    """A library's error in words of the command line, where a user can act on it; else ""."""
    text = in_one_line(error)
    if isinstance(error, MemoryError):
        text = f"not enough memory: you tried to allocate more than there is ({text})"
    remedies = [remedy for message, remedy in REMEDIES.items() if message in text]
    return f"{remedies[0]} ({shortened(text)})." if remedies else ""


def unexpected(error: BaseException) -> str:
    """Any other error in one line, with the line of our code, or a plug-in's, that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    our_frames = [f for f in frames if "site-packages" not in f.filename and f.filename[:1] != "<"]
    where = "".join(f" (line {f.lineno} of {f.filename})" for f in (our_frames or frames)[-1:])
    return f"{type(error).__name__}: {in_one_line(error)}{where}; `bench --debug` shows more."


def without_folders(text: str) -> str:
    """The text with each absolute path cut to its last name: records name no machine."""
    return re.sub(r"(?<![\w.])/(?:[^\s:'\"/]+/)+", "", text)


#: Of more names than these an error shows the nearest alone.
FEW_NAMES = 8


def unknown(what: str, name: str, known: Iterable[str], listed_by: str = "") -> BenchError:
    """The error for a name that does not exist: the three nearest, or all where they are few.

    `listed_by` is the command that prints all of them.
    """
    return BenchError(f"unknown {what} {_short_name(name)!r}; {nearest(name, known, listed_by)}")


def nearest(name: str, known: Iterable[str], listed_by: str = "") -> str:
    """Which of the known names may be meant, as `unknown` says it."""
    known, name = list(known), _short_name(name)
    near = [repr(other) for other in difflib.get_close_matches(name, known, 3, 0.4)]
    parts = []
    if near:
        *others, last = near
        parts.append(f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?")
    if len(known) <= FEW_NAMES:
        parts.append(f"There are: {', '.join(known)}.")
    elif listed_by:
        parts.append(f"`{listed_by}` prints all {len(known)}.")
    elif not near:
        others = difflib.get_close_matches(name, known, 3, 0.0)
        parts.append(f"The nearest of {len(known)} are {', '.join(others)}.")
    text = " ".join(parts)
    return text[:1].lower() + text[1:]  # it follows a semicolon


def _short_name(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:80]}...{name[-80:]}"


def shortened(value: object) -> str:
    """A value as Python writes it, however long or deep it is, in a hundred characters or so."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


def explain(error: ValidationError, fields: Iterable[str] = ()) -> str:
    """Pydantic's findings, one clause a field; `fields`: keys that an unknown one may stand for."""
    clauses: dict[str, list[str]] = {}
    for e in error.errors():
        loc = e["loc"][:-1] if e["loc"] and e["loc"][-1] in _UNION_PARTS else e["loc"]
        name = ".".join(map(str, loc))
        # What is missing has no value: pydantic gives all of its surroundings.
        value = "" if e["type"] == "missing" else f" = {shortened(e['input'])}"
        where = f"{name}{value}: " if name else ""  # of a whole model the value is all that it has
        clauses.setdefault(where, []).append(e["msg"].removeprefix("Value error, "))
        if e["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, fields, 1)
            clauses[where] = ["unknown key" + (f", did you mean {near[0]!r}?" if near else "")]
    return "; ".join(where + _joined(messages) for where, messages in clauses.items())


#: What pydantic adds to the place of a value that fits none of several plain types.
_UNION_PARTS = frozenset({"bool", "int", "float", "str"})


def _joined(messages: list[str]) -> str:
    """What is wrong with one value: of several types that it might have, all in one clause."""
    first, *rest = messages
    if not rest:
        return first
    types = [message.partition(",")[0].partition(" valid ")[2] for message in messages]
    if not all(types):
        return "; ".join(messages)
    return f"Input should be a valid {', '.join(types[:-1])} or {types[-1]}"
