import gc

import pytest
import torch

from harness.training.loop import GoldenLosses, held_mib
from methods.parts.older_objects import passing_over_older_objects

CPU = torch.device("cpu")


def test_the_golden_steps_are_the_first_ones_every_tenth_part_and_the_last():
    assert sorted(GoldenLosses(30).steps) == [0, 1, 2, 3, 4, 6, 9, 12, 15, 18, 21, 24, 27, 29]
    assert {0, 1, 2, 3, 4, 4000, 36000, 39999} < GoldenLosses(40000).steps
    assert {0, 1} <= GoldenLosses(2).steps


def test_terms_are_kept_with_their_steps():
    golden = GoldenLosses(30)
    golden.note(0, {"source": 2.0}, CPU)
    golden.note(18, {"source": 1.0, "mixed": 3.0}, CPU)
    assert golden.losses == {"source": [(0, 2.0), (18, 1.0)], "mixed": [(18, 3.0)]}
    assert golden.held_mib == []


def test_held_tensors_are_counted_once_and_no_longer_than_they_are_held():
    before = held_mib(CPU)
    kept = torch.zeros(2**18)
    views = [kept[1:], kept.view(2, -1)]
    assert held_mib(CPU) - before == 1
    del kept, views
    assert held_mib(CPU) == before


def test_of_a_training_only_what_it_makes_is_counted():
    older = torch.zeros(2**20)
    with passing_over_older_objects():
        before = held_mib(CPU)
        younger = torch.zeros(2**18)
        assert held_mib(CPU) - before == 1
        assert before < 4
    assert len(older) > len(younger)


@pytest.mark.parametrize(("frozen_before", "calls"), [(0, ["freeze", "unfreeze"]), (7, ["freeze"])])
def test_whoever_set_objects_apart_before_a_training_keeps_them_so(
    monkeypatch, frozen_before, calls
):
    made = []
    monkeypatch.setattr(gc, "get_freeze_count", lambda: frozen_before)
    monkeypatch.setattr(gc, "freeze", lambda: made.append("freeze"))
    monkeypatch.setattr(gc, "unfreeze", lambda: made.append("unfreeze"))
    with pytest.raises(ZeroDivisionError), passing_over_older_objects():
        raise ZeroDivisionError
    assert made == calls


def test_what_is_held_is_noted_after_the_first_steps_and_the_last():
    golden = GoldenLosses(30)
    for step in (3, 4, 6, 29):
        golden.note(step, {}, CPU)
    assert [step for step, _ in golden.held_mib] == [4, 29]
