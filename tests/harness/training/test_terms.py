"""What a method yields and is no loss: told by the term's name."""

from __future__ import annotations

import math

import pytest
import torch
from test_trainer import CPU, Supervised, batches, method, profile
from torch import nn

from harness.errors import BenchError
from harness.training.loop import finite
from harness.training.trainer import Trainer
from methods.contract import Method

WRONG = {
    "losses gave dict; expected dictionaries that it yields": lambda loss: {"t": loss},
    "losses yielded Tensor; expected a dictionary of terms": lambda loss: iter([loss]),
    "term 't' is float; expected a tensor": lambda loss: iter([{"t": 0.1}]),
    "term 't' has shape (2,); expected one number": lambda loss: iter([{"t": loss.expand(2)}]),
    "no gradient flows from t; expected": lambda loss: iter([{"t": loss.detach()}]),
    "losses yielded NoneType; expected a dictionary": lambda loss: iter([{"t": loss}, None]),
    "term 7 is named by int; expected a text": lambda loss: iter([{7: loss}]),
    "the first step minimises nothing; expected losses to yield": lambda loss: iter([]),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_loss_is_told_by_its_name(said):
    class Wrong(Method):
        def losses(self, batch, step):
            return WRONG[said](self.student(batch.source_image).logits.mean())

    with pytest.raises(BenchError) as error:
        Trainer(method(Wrong), profile(), CPU).step(batches(1), 0)
    assert f"method Wrong: {said}" in str(error.value)
    assert "bench test-method" in str(error.value)


class HeadAlone(Supervised):
    def param_groups(self, lr, weight_decay, head_lr_factor):
        return [{"params": list(self.student.head.parameters()), "lr": lr}]


class BuiltLate(Supervised):
    def losses(self, batch, step):
        yield from super().losses(batch, step)
        self.late = nn.Linear(1, 1)
        yield {"late": self.late(torch.ones(1)).sum()}


class InAList(Supervised):
    def setup(self, frozen_teachers, companions):
        self.critics = [nn.Linear(1, 1)]

    def critic_groups(self):
        return [{"params": list(self.critics[0].parameters()), "lr": 1e-4}]


class TensorsAsGroups(Supervised):
    def critic_groups(self):
        return list(self.student.head.parameters())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (HeadAlone, "no optimiser has student.encoder.weight and 1 more; expected all that learns"),
        (
            BuiltLate,
            "no optimiser has late.weight and 1 more; expected all that learns to be built",
        ),
        (InAList, "critics holds modules that nobody trains, moves or saves; expected nn.Module"),
        (TensorsAsGroups, "critic_groups gave something else; expected dictionaries with params"),
    ],
)
def test_what_would_learn_and_no_optimiser_moves_stops_the_run(kind, said):
    with pytest.raises(BenchError) as error:
        Trainer(method(kind), profile(), CPU).step(batches(1), 0)
    assert f"method {kind.__name__}: {said}" in str(error.value)


def test_what_stands_still_needs_no_optimiser():
    class Still(HeadAlone):
        def setup(self, frozen_teachers, companions):
            self.student.encoder.requires_grad_(False)

    Trainer(method(Still), profile(), CPU).step(batches(1), 0)


def test_all_terms_that_broke_since_the_last_look_are_named():
    terms = {"source": torch.tensor(math.nan), "t": torch.tensor(math.nan), "fine": torch.ones(())}
    with pytest.raises(BenchError, match="the loss terms 'source', 't' became nan at step 27 or"):
        finite(terms, 27)
    assert finite({"fine": torch.ones(())}, 27) == {"fine": 1.0}
