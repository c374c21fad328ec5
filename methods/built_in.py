"""The methods of this package by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.contract import Method

#: name -> module:class; nothing is imported before it is asked for.
BUILT_IN = {
    "source_only": "methods.source_only:SourceOnly",
    "adabn": "methods.adabn:AdaBN",
    "adaptsegnet": "methods.adaptsegnet:AdaptSegNet",
    "advent": "methods.advent:Advent",
    "minent": "methods.minent:MinEnt",
    "fda": "methods.fda:FDA",
    "dacs": "methods.dacs:DACS",
    "daformer": "methods.daformer:DAFormer",
    "hrda": "methods.hrda:HRDA",
    "mic": "methods.mic:MIC",
    "dualkd": "methods.dualkd:DualKD",
    "duda": "methods.duda:DUDA",
    "clda": "methods.clda:CLDA",
    "oracle": "methods.oracle:Oracle",
}


def load(address: str) -> type[Method]:
    """Import the class at "module:class". Raises whatever its import does."""
    module, _, attribute = address.partition(":")
    return getattr(import_module(module), attribute)
