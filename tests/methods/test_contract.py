"""Every method of the registry keeps to the contract: methods/testing says what that is."""

from __future__ import annotations

import pytest

from methods import registry
from methods.contract import Method
from methods.testing import Case, cases
from methods.testing.blocking import it_seldom_waits_for_a_gpu
from methods.testing.suite import AT_THE_END, EVERY
from methods.testing.tools import NETWORKS, variants_of

JOINED = "dualkd+hrda+mic"
#: A wide discriminator runs the same lines, for half of an adversarial method's time.
NARROW = {"discriminator_width": 4}
#: Their "all terms" runs every line of the defaults that could fail them.
AT_MOST = ("the_batch_stays_as_it_is", "its_draws_leave_torchs_generator_alone")


def is_shown_elsewhere(case: Case) -> bool:
    """Whether other cases of the method, or another test, fail wherever this one does."""
    method, network, variant = case.subject.method, case.subject.network, case.subject.variant
    if case.check.function is it_seldom_waits_for_a_gpu:
        return True  # counted to the point in test_blocking.py
    if case.check.variants == EVERY:
        # The defaults' terms are in the others: mixing from the first step on, and after a phase.
        if variant == "defaults" and "source phase" in variants_of(method):
            return True
        return network != NETWORKS[0] and variant != "all terms"
    return variant == "defaults" and case.name in AT_MOST and "all terms" in variants_of(method)


def asked(name: str) -> list[Case]:
    method: type[Method] = registry.load(name)
    knobs = {knob: value for knob, value in NARROW.items() if knob in method.Config.model_fields}
    if name != JOINED:
        return [case for case in cases(method, knobs=knobs) if not is_shown_elsewhere(case)]
    # Its parts are asked for themselves: here they need but go together.
    return [
        case
        for case in cases(method, NETWORKS[:1])
        if not is_shown_elsewhere(case)
        and (case.subject.variant == "all terms" or case.check.variants not in (EVERY, AT_THE_END))
    ]


CASES = [
    pytest.param(case, id=f"{name}-{case}")
    for name in (*registry.names(), JOINED)
    for case in asked(name)
]


@pytest.mark.parametrize("case", CASES)
def test_it_keeps_to_the_contract(case: Case):
    case.run()
