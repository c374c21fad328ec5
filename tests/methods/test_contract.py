"""Every method of the registry keeps to the contract: methods/testing says what that is."""

from __future__ import annotations

import pytest

from methods import registry
from methods.testing import Case, cases

NAMES = [*registry.names(), "dualkd+hrda+mic"]
CASES = [pytest.param(c, id=f"{name}-{c}") for name in NAMES for c in cases(registry.load(name))]


@pytest.mark.parametrize("case", CASES)
def test_it_keeps_to_the_contract(case: Case):
    case.run()
