"""What a training shows while it works."""

import io

import pytest
from rich.console import Console

from harness.measure.memory import PeakMemory
from harness.report.progress import NAME_WIDTH, Reporter, Role


class Measured(PeakMemory):
    """Its peak so far is 123 MiB."""

    def so_far_mib(self) -> float:
        return 123.4


@pytest.mark.parametrize("is_terminal", [True, False])
def test_memory_is_the_peak_so_far_that_the_record_will_hold(is_terminal):
    console = Console(file=io.StringIO(), width=160, force_terminal=is_terminal)
    with Reporter(console).training(4, Measured("cpu")) as progress:
        progress(2, {"source": 1.5}, 10.0)
    text = console.file.getvalue()
    assert "source 1.500" in text
    assert "10.0 img/s  peak 123 MiB" in text


def shown(width: int, role: Role) -> list[str]:
    """The last drawn state of a training's bar on a terminal."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system=None,
        legacy_windows=False,
    )
    losses = {f"a_term_of_the_loss_{i}": 1.0 for i in range(6)}
    with Reporter(console).training(1000, Measured("cpu"), 0, role) as progress:
        progress.step(1)
        progress.step(2)
        progress(900, losses, 10.0)
    *_, last = [part for part in console.file.getvalue().split("\x1b[2K") if "900/1000" in part]
    return last.splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_terms_are_cut_before_name_bar_and_eta(width):
    line, *_ = shown(width, Role("teacher mini_m", lambda step: 3700.0))
    assert len(line) <= width
    assert line.startswith("teacher mini_m ")
    assert "900/1000 ETA 0:00, run 1:01:40" in line
    assert "━" * 5 in line
    if width >= 80:
        assert "10.0 img/s" in line
        assert "…" in line


def test_a_long_networks_name_leaves_room_for_the_rest():
    line, *_ = shown(80, Role("student mmseg:segformer/segformer_mit-b0_8xb1-160k"))
    assert "…" in line[:NAME_WIDTH]
    assert "900/1000 ETA 0:00" in line


def test_a_log_has_a_line_a_tenth():
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    with Reporter(console).training(1000, Measured("cpu")) as progress:
        for step in range(1, 1001):
            progress.step(step)
            if step % 5 == 0:
                progress(step, {"source": 1.5}, 10.0)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == [
        f"{step}/1000" for step in (5, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
    ]
    assert all("ETA" in line for line in lines)


def test_what_is_being_done_is_shown_on_a_terminal_only():
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), width=80, force_terminal=is_terminal)
        with Reporter(console).doing("timing inference of mini_s"):
            pass
        assert ("timing inference of mini_s" in console.file.getvalue()) is is_terminal
