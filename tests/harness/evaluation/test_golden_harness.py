"""Schedule, optimiser and metric give what the reference gives: see fidelity.py."""

from __future__ import annotations

import pytest
from fidelity import SECTIONS

HARNESS = ("Optimiser and schedule", "Metric")


@pytest.mark.parametrize(
    "comparison", [c for title in HARNESS for c in SECTIONS[title]], ids=lambda c: c.name
)
def test_as_in_the_reference(comparison):
    assert comparison.deviation() <= comparison.tolerance
