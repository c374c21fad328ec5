"""How long is left, from how far something has come."""

import pytest

from harness.report.pace import Pace, duration


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def after(clock: Clock, pace: Pace, seconds: float, done: int) -> None:
    clock.now += seconds
    pace.note(done)


def test_nothing_is_known_before_the_first_step(clock):
    assert Pace(3, clock).seconds_left(9) is None


def test_the_first_step_counts_until_there_are_others(clock):
    pace = Pace(10, clock)
    after(clock, pace, 30, 11)
    assert pace.seconds_left(20) == 270
    after(clock, pace, 2, 12)
    assert pace.seconds_left(20) == 16


def test_the_pace_is_that_of_the_last_minute(clock):
    pace = Pace(0, clock)
    for done in range(1, 101):
        after(clock, pace, 1, done)
    for done in range(101, 131):
        after(clock, pace, 4, done)
    assert pace.seconds_left(230) == pytest.approx(400)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-:--"), (0, "0:00"), (59.6, "1:00"), (3723, "1:02:03"), (183845, "2 d 03:04")],
)
def test_durations_are_written_as_clocks_do(seconds, shown):
    assert duration(seconds) == shown
