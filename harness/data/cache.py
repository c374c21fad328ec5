"""Where everything that can be made again is kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """Return our cache folder: UDA_BENCH_CACHE, or the user's own; never beside the data."""
    return Path(os.environ.get("UDA_BENCH_CACHE") or platformdirs.user_cache_dir("uda-bench"))
