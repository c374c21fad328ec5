"""Networks, parts and whole iterations give what the reference gives: see fidelity.py."""

from __future__ import annotations

import pytest
from fidelity import SECTIONS

METHODS = ("Networks", "Parts of the methods", "Whole iterations")


@pytest.mark.parametrize(
    "comparison", [c for title in METHODS for c in SECTIONS[title]], ids=lambda c: c.name
)
def test_as_in_the_reference(comparison):
    assert comparison.deviation() <= comparison.tolerance
