"""Where everything that can be made again is kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

from harness.errors import BenchError


def cache_dir() -> Path:
    """Return our cache folder: UDA_BENCH_CACHE, or the user's own; never beside the data."""
    return Path(os.environ.get("UDA_BENCH_CACHE") or platformdirs.user_cache_dir("uda-bench"))


def check_cache() -> None:
    """BenchError where the cache folder cannot be written: before hours of work, not after."""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchError(
            f"the cache folder {folder} cannot be written ({error.strerror}); expected one for "
            "generated data, class statistics and inference speeds: set UDA_BENCH_CACHE to another."
        ) from error
