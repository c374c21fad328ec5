"""How often a step of each method makes the host wait for a GPU, counted without one."""

from __future__ import annotations

import pytest
import small_network
import torch
from torch import Tensor

from methods import registry
from methods.networks import zoo
from methods.testing.blocking import (
    GPU,
    FakeGPU,
    blocking_points,
    it_seldom_waits_for_a_gpu,
    mixed_precision,
)
from methods.testing.tools import ITERATIONS, NETWORKS, ContractError, Subject

#: Both augmentations at every step, whatever is drawn.
ALWAYS = {"jitter_probability": 1.0, "blur_probability": 1.0}

#: At the first step, and at the last, where a small student is fine-tuned.
POINTS = {
    "source_only": (0, 0),
    "oracle": (0, 0),
    "adabn": (0, 0),
    "adaptsegnet": (0, 0),
    "advent": (0, 0),
    "minent": (0, 0),
    "fda": (0, 0),
    "dacs": (1, 1),
    "daformer": (1, 1),
    "hrda": (1, 1),
    "mic": (1, 1),
    "dualkd": (1, 1),
    "duda": (1, 1),
    "clda": (1, 2),
    "dualkd+hrda+mic": (1, 1),
}


def test_every_built_in_method_is_counted():
    assert set(registry.names()) <= POINTS.keys()


@pytest.fixture
def small(monkeypatch) -> str:
    """A step on fake tensors takes a second for a network of many layers."""
    monkeypatch.setitem(zoo.NETWORKS, small_network.NAME, small_network.SPEC)
    return small_network.NAME


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("variant", ["defaults", "all terms"])
@pytest.mark.parametrize("name", POINTS)
def test_blocking_points_a_step(small, name, variant, dtype):
    method = registry.load(name)
    knobs = {k: v for k, v in ALWAYS.items() if k in method.Config.model_fields}
    subject = Subject(method, small, variant, knobs)
    first, last = blocking_points(subject, (0, ITERATIONS - 1), dtype)
    assert (len(first), len(last)) == POINTS[name], [str(point) for point in first + last]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("network", NETWORKS)
def test_no_network_waits(network, dtype):
    (points,) = blocking_points(Subject(registry.load("source_only"), network), (0,), dtype)
    assert not points, [str(point) for point in points]


class WaitsInBf16(registry.load("source_only")):
    """Looks at its loss where autocast is on."""

    def losses(self, batch, step):
        for group in super().losses(batch, step):
            if torch.is_autocast_enabled(GPU.type):
                for value in [*group.values()] * 3:
                    value.item()
            yield group


def test_a_plug_in_is_counted_in_both_precisions():
    it_seldom_waits_for_a_gpu(Subject(registry.load("source_only")))
    with pytest.raises(ContractError, match="in bf16 makes the host wait for a GPU 3 times"):
        it_seldom_waits_for_a_gpu(Subject(WaitsInBf16))


def there(*shape: int) -> Tensor:
    return torch.zeros(shape, device=GPU)


def pinned() -> Tensor:
    return torch.zeros(3).pin_memory()


@pytest.mark.parametrize(
    ("count", "action"),
    [
        (0, lambda: there(3) + 1),
        (0, lambda: there(3) * torch.tensor(0.5)),
        (0, lambda: torch.where(there(3) > 0, 1.0, there(3))),
        (0, lambda: torch.rand(3).tolist()),
        (0, lambda: torch.rand(3).nonzero()),
        (0, lambda: torch.arange(3, device=GPU)),
        (0, lambda: there(3)[there(2).long()]),
        (0, lambda: pinned().to(GPU, non_blocking=True)),
        (0, lambda: pinned()[None].to(GPU, non_blocking=True)),
        (0, lambda: there(3).repeat_interleave(there(3).long(), output_size=3)),
        (1, lambda: pinned().to(GPU)),
        (1, lambda: torch.zeros(3).to(GPU, non_blocking=True)),
        (1, lambda: torch.tensor([1.0, 2.0], device=GPU)),
        (1, lambda: there(3).copy_(torch.zeros(3))),
        (1, lambda: torch.zeros(3).copy_(there(3))),
        (1, lambda: there(3).cpu()),
        (1, lambda: there(3).tolist()),
        (1, lambda: float(there())),
        (1, lambda: bool(there(3).any())),
        (1, lambda: torch.equal(there(3), there(3))),
        (1, lambda: there(3).nonzero()),
        (1, lambda: there(3).unique()),
        (1, lambda: there(3).long().bincount(minlength=4)),
        (1, lambda: there(3)[there(3) > 0]),
        (1, lambda: there(3).masked_select(there(3) > 0)),
        (1, lambda: there(3)[[0, 2]]),
        (1, lambda: there(3)[torch.tensor([0, 2])]),
        (1, lambda: torch.cuda.synchronize()),
    ],
)
def test_what_blocks(count, action):
    with FakeGPU() as gpu:
        action()
    assert len(gpu.points) == count


def test_a_point_names_the_line_that_asked_for_it():
    with FakeGPU() as gpu:
        there(3).any().item()  # this one
    (point,) = gpu.points
    assert point.module == __name__
    assert point.source.endswith("# this one")
    assert "_local_scalar_dense" in str(point)


def test_tensors_of_two_devices_are_refused_as_on_a_gpu():
    with FakeGPU(), pytest.raises(RuntimeError, match="device"):
        there(3) + torch.zeros(3)


def test_the_forward_runs_in_the_asked_for_precision():
    with FakeGPU() as gpu:
        method = gpu.method(Subject(registry.load("source_only")))
        image = there(2, 3, 32, 64)
        for dtype in (None, torch.bfloat16):
            with mixed_precision(dtype):
                assert method.student(image).logits.dtype is (dtype or torch.float32)
