"""A console that a run outlasts: no run ends because nobody reads what it prints any more."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console


def outlasted(console: Console) -> Console:
    """The same console, which drops what it cannot print.

    Its terminal or the other end of its pipe has closed, or the disk that its output goes to is
    full: then the next line is tried again.
    """
    console.file = cast("IO[str]", _Outlasted(console.file))
    return console


class _Outlasted:
    """A stream that raises nothing where it cannot be written."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        """Nothing is left to flush."""

    def _drop(self) -> None:
        """Empty the stream's buffer: Python would fail to write it as the process ends."""
        with suppress(OSError, ValueError):
            descriptor = self._stream.fileno()
            kept, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            try:
                self._stream.flush()
            finally:
                os.dup2(kept, descriptor)
                os.close(kept)
                os.close(nowhere)
