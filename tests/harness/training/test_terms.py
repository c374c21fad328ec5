"""What a method yields and is no loss: told by the term's name."""

from __future__ import annotations

import math

import pytest
import torch
from test_trainer import CPU, batches, method, profile

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


def test_all_terms_that_broke_since_the_last_look_are_named():
    terms = {"source": torch.tensor(math.nan), "t": torch.tensor(math.nan), "fine": torch.ones(())}
    with pytest.raises(BenchError, match="the loss terms 'source', 't' became nan at step 27 or"):
        finite(terms, 27)
    assert finite({"fine": torch.ones(())}, 27) == {"fine": 1.0}
