"""When states are kept, which one a later try goes on from, and what that costs."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext

import pytest
import torch
from test_trainer import CPU, batches, method, profile

from harness.config.schema import Profile
from harness.measure.clock import StepClock, Stopwatch
from harness.training.checkpoints import Checkpoints, discard, stored
from harness.training.loop import train
from harness.training.state import TENSORS, VALUES

MADE_BY = {"code": "this", "environment": "that"}


class Fixture:
    """Eight steps of a microscopic method, and what is said meanwhile."""

    def __init__(self, folder):
        self.folder, self.said, self.now = folder, [], 0.0

    def checkpoints(self, every: str = "2", made_by: dict | None = None) -> Checkpoints:
        return Checkpoints(
            self.folder, every, made_by or MADE_BY, self.said.append, clock=lambda: self.now
        )

    def train(self, checkpoints: Checkpoints, *, seconds: float = 0.0, resume=None):
        trained, state = resume or (method(), None)

        def tell(step, losses, speed):
            self.now += seconds

        train(
            trained, batches(8)[state.values["step"] if state else 0 :], profile(log_every=1), CPU,
            clock=StepClock(1), progress=tell, checkpoints=checkpoints,
            meters={"wall": Stopwatch()}, resume=state,
        )  # fmt: skip
        return trained

    def newest(self, made_by: dict | None = None, keep_other_code: bool = False):
        checkpoints = self.checkpoints(made_by=made_by)
        built = method()
        return checkpoints, built, checkpoints.newest(built, 8, keep_other_code)

    @property
    def names(self) -> list[str]:
        return [path.name for path in stored(self.folder / "checkpoints")]


@pytest.fixture
def training(tmp_path) -> Fixture:
    return Fixture(tmp_path)


@pytest.mark.parametrize(
    ("every", "seconds", "names"),
    [
        ("2", 0, ["step-6", "step-4"]),
        ("3", 0, ["step-6", "step-3"]),
        ("100", 0, []),
        ("off", 1e6, []),
        ("1min", 20, ["step-4"]),
        ("0.5min", 20, ["step-6", "step-3"]),
        ("10min", 1, []),
    ],
)
def test_every_so_many_steps_or_minutes_and_the_newest_two_are_kept(
    training, every, seconds, names
):
    training.train(training.checkpoints(every), seconds=seconds)
    assert training.names == names
    assert {path.name for path in training.folder.glob("checkpoints/*")} == set(names)


@pytest.mark.parametrize(
    ("value", "kept"),
    [("off", "off"), ("200", "200"), (200, "200"), ("10min", "10min"), ("0.5min", "0.5min")],
)
def test_steps_minutes_and_off_are_understood(value, kept):
    assert profile(checkpoint_every=value).checkpoint_every == kept


@pytest.mark.parametrize("value", ["0", 0, -1, "1e3", "10 min", "min", "5h", True, None, "9" * 40])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match="checkpoint_every"):
        profile(checkpoint_every=value)


def test_every_profile_keeps_states_by_the_clock():
    assert Profile.model_fields["checkpoint_every"].default == "10min"


@pytest.mark.parametrize("name", [TENSORS, VALUES])
def test_a_damaged_newest_state_gives_way_to_the_one_before(training, name):
    whole = training.train(training.checkpoints())
    file = training.folder / "checkpoints/step-6" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    checkpoints, built, state = training.newest()
    assert [line.partition(":")[0] for line in training.said] == [
        "the training state of step 6 is not used", "goes on at step 4 of 8",
    ]  # fmt: skip
    assert checkpoints.resumed == [4]
    resumed = training.train(checkpoints, resume=(built, state))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert training.names == ["step-6", "step-4"], "written anew"


def test_no_state_is_no_word(training):
    assert training.newest()[2] is None
    assert training.said == []


def test_a_state_of_other_code_is_used_only_where_that_is_asked_for(training):
    training.train(training.checkpoints())
    other = {**MADE_BY, "code": "other"}
    assert training.newest(other)[2] is None
    (line,) = training.said
    assert "other code" in line
    assert "--keep-other-code" in line
    assert training.names == ["step-6", "step-4"], "it still serves the code that left it"
    assert training.newest(other, keep_other_code=True)[2] is not None
    training.train(training.checkpoints("5", other))
    assert training.names == ["step-5"], "until there is one of this code"


def test_resumptions_and_cost_add_up(training):
    training.train(training.checkpoints())
    checkpoints, built, state = training.newest()
    training.train(checkpoints, resume=(built, state))
    assert checkpoints.resumed == [6]
    cost = json.loads((training.folder / "checkpoints/step-6" / VALUES).read_text())
    assert cost["values"]["cost"]["count"] == 3
    assert checkpoints.cost.count == 3
    assert checkpoints.cost.mib > 0
    discard(training.folder)
    assert training.names == []


def test_what_keeping_costs_is_not_the_steps(training, monkeypatch):
    """Not in the clock's steps and parts, not in the wall seconds: in the cost alone."""

    def tick() -> float:
        training.now += 0.01
        return training.now

    def slow(*given) -> None:
        training.now += 100
        time.sleep(0.1)
        save(*given)

    checkpoints, clock, wall = training.checkpoints(), StepClock(1, clock=tick), Stopwatch()
    save = checkpoints._save
    monkeypatch.setattr(checkpoints, "_save", slow)
    start = time.perf_counter()
    train(
        method(), batches(8), profile(), CPU, clock=clock, progress=lambda *_: None,
        checkpoints=checkpoints, meters={"wall": wall},
    )  # fmt: skip
    assert checkpoints.cost.count == 3
    assert checkpoints.cost.seconds >= 0.3
    assert max(sum(step) for step in clock.steps) < 1
    spent = time.perf_counter() - start
    assert wall.seconds + checkpoints.cost.seconds <= spent + 0.05  # of the 0.3 that are slept
    assert min(phase.images_per_second for phase in clock.phases()) > 1


def test_a_full_disk_costs_a_word_and_no_training(training, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.training.checkpoints.save", full)
    checkpoints = training.checkpoints()
    training.train(checkpoints)
    (line,) = training.said
    assert "No space left" in line
    assert checkpoints.cost is None


class Noted:
    """A curve that notes the steps it is asked at: every third and the last of eight."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def due(self, done):
        return done % 3 == 0 or done == 8

    def score(self, method, done, meters):
        self.steps.append(done)

    def paused(self):
        return nullcontext()

    def of_all(self, states):
        return states[0]

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def test_a_curve_is_asked_at_its_own_steps_and_goes_on_where_a_state_was_kept(training):
    def run(curve, checkpoints, built, resume=None):
        train(
            built, batches(8)[resume.values["step"] if resume else 0 :], profile(), CPU,
            clock=StepClock(1), progress=lambda *_: None, checkpoints=checkpoints, curve=curve,
            resume=resume,
        )  # fmt: skip

    first = Noted()
    run(first, training.checkpoints("4"), method())
    assert first.steps == [3, 6, 8]
    later, built = Noted(), method()
    state = training.checkpoints("4").newest(built, 8, False)
    run(later, training.checkpoints("4"), built, state)
    assert later.steps == [3, 6, 8], "step 3 from the state of step 4"


@pytest.mark.parametrize("before", [None, torch.zeros(3, dtype=torch.int64)], ids=["new", "type"])
def test_a_method_that_grows_while_it_trains_leaves_no_state_and_is_told_so(training, before):
    """So does one whose buffer becomes of another type: its values would be cut when restored."""
    checkpoints = training.checkpoints()
    grown = method()
    losses = grown.losses
    if before is not None:
        grown.register_buffer("late", before)

    def with_a_late_buffer(batch, step):
        if getattr(grown, "late", before) is before:
            grown.register_buffer("late", torch.zeros(3))
        return losses(batch, step)

    grown.losses = with_a_late_buffer
    training.train(checkpoints, resume=(grown, None))
    assert training.names == []
    (said,) = training.said
    assert "late is not what it was when the method was built; expected every buffer" in said
