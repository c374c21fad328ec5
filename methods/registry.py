"""Methods by name: the built-in ones, and those of other packages by entry point."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.contract import Method

ENTRY_POINT_GROUP = "uda_bench.methods"

#: name -> module:class; nothing is imported before it is asked for.
BUILT_IN = {
    "source_only": "methods.source_only:SourceOnly",
    "daformer": "methods.daformer:DAFormer",
    "dualkd": "methods.dualkd:DualKD",
    "oracle": "methods.oracle:Oracle",
}


def _addresses() -> dict[str, str]:
    found: list[EntryPoint] = list(entry_points(group=ENTRY_POINT_GROUP))
    return BUILT_IN | {point.name: point.value for point in found}


def names() -> list[str]:
    """Every method that can be run, built-in ones first."""
    return list(_addresses())


def load(name: str) -> type[Method]:
    """Import the method's class. KeyError for an unknown name."""
    module, _, attribute = _addresses()[name].partition(":")
    return getattr(import_module(module), attribute)


def summary(name: str) -> str:
    """First line of the docstring of the method's module, without importing it."""
    spec = find_spec(_addresses()[name].partition(":")[0])
    if spec is None or spec.origin is None:
        return ""
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
