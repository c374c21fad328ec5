"""The number of threads is that of the block, and what it was afterwards."""

from __future__ import annotations

import pytest
import torch

from harness.training.precision import computing_threads


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_threads_are_as_before_after_a_block_that_fails_too():
    def fail() -> None:
        with computing_threads(3, torch.device("cpu")):
            assert torch.get_num_threads() == 3
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("threads", "device"), [(None, "cpu"), (0, "cpu"), (3, "cuda")])
def test_none_and_another_device_leave_them(threads, device):
    with computing_threads(threads, torch.device(device)):
        assert torch.get_num_threads() == 2
