"""Counting what a training makes, and nothing that was there before it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def passing_over_older_objects() -> Iterator[None]:
    """The garbage collector leaves alone what is there: of imports alone, 0.2 s at every round."""
    frozen_before = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen_before:
            gc.unfreeze()
