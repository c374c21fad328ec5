"""Two processes compute what one computes on the joined batch: every method, every gradient."""

from __future__ import annotations

import pytest
import torch
import two_processes
from torch import Tensor
from two_processes import CASES, COMBINATIONS

from methods import registry

#: Gradients in 64 bits differ by rounding, 1e-13 or so.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def computed(tmp_path_factory) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """All cases in one process, and in each of two."""
    folder = tmp_path_factory.mktemp("gradients")
    processes = two_processes.started(two_processes.write_gradients, folder)
    one = two_processes.all_gradients()
    assert two_processes.ended(processes) == [0, 0]
    return one, two_processes.left_in(folder)


def test_every_method_is_compared():
    assert {case.method for case in CASES} == {*registry.names(), *COMBINATIONS}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_and_what_they_lead_to_are_those_of_one_process(computed, case):
    one, (first, _) = computed
    assert one.keys() == first.keys()
    for part in (*(f"step {step}/" for step in range(two_processes.STEPS)), "state/"):
        assert two_processes.worst(one, first, f"{case}: {part}") < TOLERANCE, part


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_process_holds_the_same_networks(computed, case):
    _, (first, second) = computed
    names = [name for name in first if name.startswith(f"{case}: state/")]
    assert names
    assert [name for name in names if not torch.equal(first[name], second[name])] == []
