"""The parts of a step: exclusive, whole, and the right ones for each method."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import torch

from harness.measure.clock import HostMarks
from harness.runs.speed.cases import SpeedCase
from harness.runs.speed.phases import OTHER, Phases, group_part
from harness.runs.speed.step import SyntheticStep, synthetic_batch
from methods import registry
from methods.contract import IGNORE
from methods.daformer import DAFormer
from methods.oracle import Oracle

CPU = torch.device("cpu")
#: Of every method, beside "other" and the marks that cost nothing.
ALWAYS = {"data", "backward", "optimiser", "after step", OTHER}
SELF_TRAINING = {"EMA", "source", "pseudo-labels", "mixing", "mixed"}
#: At 70 % of the schedule with profile tiny, where there is no feature distance.
EXPECTED = {
    "source_only": {"source"},
    "oracle": {"target"},
    "adabn": {"source"},  # the target in the last steps alone
    "minent": {"source", "target"},
    "fda": {"source", "target", "mixing"},
    "adaptsegnet": {"source", "target", "critics"},
    "advent": {"source", "target", "critics"},
    "dacs": SELF_TRAINING,
    "daformer": SELF_TRAINING,
    "hrda": SELF_TRAINING,
    "mic": SELF_TRAINING | {"masked"},
    "dualkd": SELF_TRAINING | {"target", "frozen teacher"},
    "duda": SELF_TRAINING | {"companions"},
    "clda": SELF_TRAINING | {"companions", "target"},
}


class Ticking:
    """A clock that moves by one second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def phases():
    made = Phases(CPU)
    made._marks = HostMarks(Ticking())
    return made


def stepping(method: str, *overrides: str, phases: Phases | None = None) -> SyntheticStep:
    case = SpeedCase(
        method=method, student="test_mit", profile="tiny", overrides=("crop=32,64", *overrides)
    )
    return SyntheticStep(case.plan(), CPU, phases=phases)


def test_time_counts_for_the_innermost_part_alone(phases):
    with phases.step(), phases("outer"), phases("inner"):
        pass
    assert phases.read() == [{OTHER: 2.0, "outer": 2.0, "inner": 1.0}]


def test_a_part_is_renamed_from_its_beginning(phases):
    with phases.step(), phases("losses"):
        with phases("EMA"):
            pass
        phases.rename("losses", "source")
    assert phases.read() == [{OTHER: 2.0, "source": 2.0, "EMA": 1.0}]


def test_what_runs_outside_of_a_step_counts_for_none(phases):
    with phases("EMA"):
        pass
    with phases.step():
        pass
    assert phases.read() == [{OTHER: 1.0}]


def test_a_part_ends_where_it_raises(phases):
    with phases.step():
        with pytest.raises(ValueError, match="x"), phases("mixing"):
            raise ValueError("x")
        with phases("mixed"):
            pass
    assert phases.read() == [{OTHER: 3.0, "mixing": 1.0, "mixed": 1.0}]


@pytest.mark.parametrize("method", registry.names())
def test_each_methods_parts_appear_and_no_others(method):
    phases = Phases(CPU)
    training = stepping(method, phases=phases)
    training.run(training.number(0, 0.7))
    assert set(phases.read()[0]) == EXPECTED[method] | ALWAYS


def test_the_feature_distance_has_a_part_of_its_own():
    phases = Phases(CPU)
    stepping("daformer", "lambda_fd=0.005", "crop=96,192", phases=phases).run(700)
    assert phases.read()[0]["ImageNet features"] > 0


def test_a_steps_parts_sum_to_its_time():
    phases = Phases(CPU)
    training = stepping("dualkd", phases=phases)
    training.run(700)
    phases.read()
    start = time.perf_counter()
    training.run(701)
    took = time.perf_counter() - start
    total = sum(phases.read()[0].values())
    assert 0.98 * took < total <= took


def test_terms_that_say_nothing_are_losses():
    assert group_part({"log/source": 0, "consistency": 0}) == "losses"


def test_watching_moves_no_loss():
    watched = stepping("dualkd", phases=Phases(CPU))
    plain = stepping("dualkd")
    plain.method.load_state_dict(watched.method.state_dict())
    torch.manual_seed(0)  # of dropout
    mine = watched.run(700)
    torch.manual_seed(0)
    theirs = plain.run(700)
    assert {name: float(v) for name, v in mine.items()} == {n: float(v) for n, v in theirs.items()}


def test_labels_are_blocks_of_every_class_and_of_the_ignored_one():
    batch = synthetic_batch(DAFormer, (96, 192), 16, classes=5)
    assert set(batch.source_label.unique().tolist()) == {*range(5), IGNORE}
    same = batch.source_label[:, :, 1:] == batch.source_label[:, :, :-1]
    assert same.float().mean() > 0.8
    assert batch.target_label is None


def test_a_method_gets_what_it_asks_for_and_no_more():
    batch = synthetic_batch(Oracle, (32, 64), 2, classes=5)
    assert batch.source_image.shape == (0, 3, 32, 64)
    assert batch.source_label.shape == (0, 32, 64)
    assert batch.target_label.shape == (2, 32, 64)


def test_the_same_batch_is_made_twice():
    first, second = (synthetic_batch(DAFormer, (32, 64), 2, classes=5) for _ in range(2))
    assert torch.equal(first.target_image, second.target_image)
    assert torch.equal(first.source_label, second.source_label)


@pytest.mark.parametrize("at", [0.0, 0.7, 1.0])
def test_steps_stay_within_the_schedule_and_never_repeat_at_once(at):
    training = stepping("source_only", "iterations=1000")
    numbers = [training.number(count, at) for count in range(120)]
    assert all(0 <= number < 1000 for number in numbers)
    assert all(a != b for a, b in pairwise(numbers))
