"""What a training shows while it works."""

import io

import pytest
from rich.console import Console

from harness.measure.memory import PeakMemory
from harness.report.progress import Reporter


class Measured(PeakMemory):
    """Its peak so far is 123 MiB."""

    def so_far_mib(self) -> float:
        return 123.4


@pytest.mark.parametrize("is_terminal", [True, False])
def test_memory_is_the_peak_so_far_that_the_record_will_hold(is_terminal):
    console = Console(file=io.StringIO(), width=160, force_terminal=is_terminal)
    with Reporter(console).training(4, Measured("cpu")) as progress:
        progress(2, {"source": 1.5}, 10.0)
    assert "source 1.500  10.0 img/s  peak 123 MiB" in console.file.getvalue()
