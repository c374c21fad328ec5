"""Text that others wrote, made harmless for where it is shown. Pure but for `any_terminal`."""

from __future__ import annotations

import codecs
import io
import re
import sys
import unicodedata
from itertools import accumulate
from typing import Any

#: Levels of a JSON value: what walks through one calls itself for each.
DEEPEST = 100
#: What a terminal or file in another encoding gets in place of our own signs.
_IN_ASCII = {"→": ">", "±": "+-", "×": "x", "…": "...", "–": "-", "—": "-", "−": "-", "≥": ">="}  # noqa: RUF001
#: What no reader sees: control and format characters (bidirectional ones too), lone surrogates.
_UNSEEN = {"Cc", "Cf", "Cs"}
#: Any of those, and line ends, but for what is quicker to tell: printable ASCII.
_SUSPECT = re.compile(r"[^ -~]")
_NO_BRACKET = bytes(set(range(128)) - set(b"[]{}"))
#: How a cell begins that a spreadsheet computes, whichever width the sign has.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")  # noqa: RUF001


def plain(text: str) -> str:
    """The text on one line, without characters that move a cursor, hide or turn text around.

    Line ends and tabs become spaces.
    """
    return _SUSPECT.sub(_seen, text) if _SUSPECT.search(text) else text


def _seen(match: re.Match[str]) -> str:
    character = match[0]
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in _UNSEEN else character


def plain_values(value: Any, depth: int = 0) -> Any:
    """The same for every text in a JSON value, names of fields too. ValueError above DEEPEST."""
    if depth > DEEPEST:
        raise ValueError(f"is nested more than {DEEPEST} deep")
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(name): plain_values(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain_values(item, depth + 1) for item in value)
    return value


def is_plain_json(text: str) -> bool:
    """Whether a JSON text shows, without being read, that `plain_values` changes nothing in it.

    No JSON string holds a control character below DEL unless it is written as an escape.
    """
    if not text.isascii() or "\\" in text or "\x7f" in text:
        return False
    outside_strings = "".join(text.split('"')[::2]).encode("ascii")
    brackets = outside_strings.translate(None, _NO_BRACKET)
    return max(accumulate(1 if sign in b"[{" else -1 for sign in brackets), default=0) <= DEEPEST


def markdown_text(text: str) -> str:
    """Shown as it is by Markdown: no column, no HTML, no link or image."""
    text = plain(text).replace("\\", "\\\\").replace("|", "\\|")
    text = re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", text)
    return re.sub(r"\](?=[(\[:])", r"\\]", text)


def csv_text(text: str) -> str:
    """A cell that a spreadsheet shows and does not compute."""
    text = plain(text)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text) is not None


def any_terminal() -> None:
    """Standard output and error take any character, whatever encoding the terminal has."""
    codecs.register_error("uda_bench", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="uda_bench")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (_IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(escaped), error.end
