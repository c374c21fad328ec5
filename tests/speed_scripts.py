"""The scripts of benchmarks/speed as modules."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "benchmarks" / "speed"


def load(name: str) -> ModuleType:
    """The script, which finds those beside it as it does where it is run."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)
