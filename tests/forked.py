"""Calls in a fork of this process, which has imported everything: for what changes or ends it."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any


def forked(function: Callable[..., Any], *arguments: Any) -> tuple[int, str]:
    """The exit code, of sys.exit or 1 after an error, and all that was printed."""
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if not child:
            _call(printed.fileno(), function, arguments)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        printed.seek(0)
        return code, printed.read().decode()


def _call(descriptor: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Never returns: this process is the fork."""
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, closefd=False)
        function(*arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
