"""What a process of several is told by its environment, and states that others have left."""

from __future__ import annotations

import pytest
import torch

from harness.errors import BenchError
from harness.training import distributed
from harness.training.state import State, StateError, check_fit
from methods.contract import Method
from methods.networks import zoo


@pytest.fixture
def second_of_two(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)


def test_alone_everything_is_its_own(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")  # left behind by something else
    assert distributed.asked() == 1
    assert distributed.own_rank() == 0
    assert distributed.own_device("cuda:1") == "cuda:1"
    with distributed.together(torch.device("cpu")):
        assert distributed.share("a") == "a"
        assert distributed.everyones("a") == ["a"]
        assert distributed.largest(3) == 3


def test_a_process_takes_the_gpu_of_its_number_on_its_machine(monkeypatch, second_of_two):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert distributed.own_rank() == 1
    assert distributed.own_device(None) == "cuda:0"
    assert distributed.own_device("cuda") == "cuda:0"
    assert distributed.own_device("cpu") == "cpu"
    with pytest.raises(BenchError, match="--device cuda:1 with 2 devices"):
        distributed.own_device("cuda:1")


def test_a_teacher_of_a_group_keeps_its_machine_and_gets_a_port_of_its_own(
    monkeypatch, second_of_two
):
    monkeypatch.setenv("MASTER_ADDR", "node7")
    own = distributed.variables(1, 2, 1234)
    assert own["MASTER_ADDR"] == "node7"
    assert own["LOCAL_RANK"] == "0"
    assert own["MASTER_PORT"] == "1234"
    monkeypatch.delenv("RANK")
    alone = distributed.variables(1, 2, 1234)
    assert (alone["MASTER_ADDR"], alone["LOCAL_RANK"]) == ("127.0.0.1", "1")


def test_a_state_of_another_number_of_processes_is_refused_by_it():
    method = Method(Method.Config(), zoo.build("test_mit"))
    state = State({}, {"random_of_others": [{}], "frozen": {}, "shared": {}})
    with pytest.raises(StateError, match="left by a training on --devices 2, not 1"):
        check_fit(method, state)


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 2, 3, 3), (4, 2, 1, 1)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_weights_become_those_of_rank_0_whatever_their_layout(monkeypatch, shape, layout):
    theirs = torch.randn(shape)
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    monkeypatch.setattr(
        distributed.dist,
        "broadcast",
        lambda received, rank: received.copy_(theirs.flatten().view(torch.uint8)),
    )
    weight = torch.empty(shape).to(memory_format=layout)
    strides = weight.stride()
    assert torch.equal(distributed.copy_(weight), theirs)
    assert weight.stride() == strides
