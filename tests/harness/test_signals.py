"""What a signal does to a process that may be in the middle of something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from harness import signals
from harness.errors import Interrupted
from harness.signals import STOPPING, Stop


@pytest.mark.parametrize("number", STOPPING)
def test_outside_of_a_step_it_raises(number):
    stop, before = Stop(), signal.getsignal(number)
    with pytest.raises(Interrupted) as end, stop.listening():
        signal.raise_signal(number)
    assert stop.number == number
    assert end.value.exit_code == (130 if number == signal.SIGINT else 75)
    assert signal.getsignal(number) is before


def step(signals: int, error: type[Exception] | None = None) -> list[str]:
    """A step in which signals arrive -> what it did before Interrupted was raised."""
    stop, done = Stop(), []

    def work():
        with stop.listening(), stop.held():
            for _ in range(signals):
                signal.raise_signal(signal.SIGTERM)
            if error:
                raise error
            done.append("step")

    with pytest.raises(error or Interrupted):
        work()
    return done


def test_in_a_step_it_is_noted_and_raised_at_the_end():
    assert step(1) == ["step"]


def test_a_second_signal_ends_it_at_once(monkeypatch):
    monkeypatch.setattr(signals, "AGAIN", 0.0)
    assert step(2) == []


def test_the_same_signal_by_two_ways_is_one():
    assert step(2) == ["step"]


def test_an_error_of_the_step_is_not_hidden():
    assert step(1, ValueError) == []


class Dies:
    def __init__(self, error: Exception | None = None):
        self.error = error

    def __del__(self):
        if self.error:
            raise self.error
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_python_drops_comes_anew():
    """What is raised in a destructor, or while the process forks, is printed and forgotten."""
    stop, hook, end = Stop(), sys.unraisablehook, time.monotonic() + 30

    def work():
        with stop.listening():
            Dies()
            while time.monotonic() < end:
                time.sleep(0.01)

    with pytest.raises(Interrupted):
        work()
    assert stop.number == signal.SIGTERM
    assert sys.unraisablehook is hook


def test_other_errors_of_a_destructor_are_said_as_ever(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: said.append(str(found.exc_value)))
    with Stop().listening():
        Dies(ValueError("gone"))
    assert said == ["gone"]


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop().listening():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_it_goes_on_to_a_process_whose_end_is_waited_for():
    child = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(9)); "
    child += "print('ready', flush=True); time.sleep(60)"
    stop = Stop()

    def wait(process):
        with stop.listening(), stop.forwarded(process):
            process.stdout.readline()
            signal.raise_signal(signal.SIGTERM)
            process.wait(30)

    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE) as process:
        with pytest.raises(Interrupted):
            wait(process)
        assert process.returncode == 9


def test_a_fork_ends_as_without_us():
    stop = Stop()
    ready, started = os.pipe()
    with stop.listening():
        child = os.fork()
        if not child:
            os.write(started, b".")
            time.sleep(60)
            os._exit(0)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert stop.number is None
