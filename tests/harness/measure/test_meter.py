from __future__ import annotations

import math
import sys

import pytest
import timm
import torch
from torch import nn

from harness.measure import clock as clock_module
from harness.measure import energy as energy_module
from harness.measure.clock import StepClock, Stopwatch
from harness.measure.energy import Energy
from harness.measure.flops import counted, gflops, parameters_m
from harness.measure.inference_speed import measure_inference, repeat
from harness.measure.memory import PeakMemory
from methods.networks import zoo


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def run_steps(steps: list[tuple[float, float]], pause: float = 0.0) -> StepClock:
    time = FakeClock()
    clock = StepClock(images_per_step=2, clock=time)
    for waiting, computing in steps:
        with clock.data():
            time.sleep(waiting)
        with clock.compute():
            time.sleep(computing)
        clock.end_step()
        time.sleep(pause)
    return clock


def test_median_percentiles_and_data_share_are_of_the_steps():
    speed = run_steps([(9.0, 9.0)] + [(0.25, 0.75)] * 8 + [(1.0, 3.0)], pause=100).summary()
    assert speed.images_per_second == 2.0
    assert speed.p10 == pytest.approx(1.7)  # between 0.5, the slowest, and 2.0
    assert speed.p90 == 2.0
    assert speed.data_share == pytest.approx(0.25)
    assert speed.steps == 9


@pytest.mark.parametrize(("steps", "measured"), [(1, 1), (2, 1), (20, 18), (100, 90), (800, 790)])
def test_warm_up_is_a_tenth_at_most_ten_steps(steps, measured):
    assert run_steps([(0.0, 1.0)] * steps).summary().steps == measured


def test_several_batches_add_up_to_one_step():
    time = FakeClock()
    clock = StepClock(images_per_step=4, clock=time)
    for _ in range(2):
        with clock.data():
            time.sleep(0.5)
        with clock.compute():
            time.sleep(1.5)
    clock.end_step()
    assert clock.steps == [(1.0, 3.0)]
    assert clock.summary().images_per_second == 1.0


def test_phases_tell_what_changes_within_the_schedule_by_wall_time():
    clock = run_steps([(0.5, 0.5)] * 12 + [(1.0, 3.0)] * 8)
    phases = clock.phases()
    assert [(p.first_step, p.steps) for p in phases] == [(step, 2) for step in range(0, 20, 2)]
    assert [p.images_per_second for p in phases] == [2.0] * 6 + [0.5] * 4
    assert clock.summary().images_per_second == 2.0  # the median shows one side only
    assert [p.images_per_second for p in run_steps([(0.0, 1.0)] * 3, pause=1.0).phases()] == [
        2.0,  # what follows the last step is no step's
        1.0,
        1.0,
    ]
    assert sum(p.steps for p in run_steps([(0.0, 1.0)] * 87).phases()) == 87


def test_a_clock_without_steps_measures_nothing():
    assert StepClock(2).phases() == []
    speed = StepClock(2).summary()
    assert speed.steps == 0
    assert math.isnan(speed.images_per_second)


def test_of_several_processes_the_slowest_of_every_step_counts():
    states = [
        {"steps": [(1.0, 2.0), (0.0, 1.0)], "ends": [0.0, 3.0, 4.5]},
        {"steps": [(0.0, 2.0), (2.0, 0.5)], "ends": [0.0, 2.0, 5.0]},
    ]
    clock = StepClock(4)
    clock.load_state_dict(clock.of_all(states))
    assert clock.steps == [(1.0, 2.0), (2.0, 0.5)]
    assert [phase.images_per_second for phase in clock.phases(1)] == [8 / 5.0]
    assert Stopwatch.of_all([{"seconds": 1.0}, {"seconds": 3.0}]) == {"seconds": 3.0}


def test_of_several_processes_the_highest_peak_and_all_energy_count():
    peaks = [{"kind": "gpu allocated", "mib": mib, "reserved_mib": 2 * mib} for mib in (3.0, 5.0)]
    assert PeakMemory.of_all(peaks) == peaks[1]
    assert Energy.of_all([{"kj": 1.5}, {"kj": 2.0}]) == {"kj": 3.5}
    assert Energy.of_all([{"kj": 1.5}, {"kj": None}]) == {"kj": None}


def test_energy_is_none_without_a_gpu():
    with Energy("cpu") as energy:
        pass
    assert energy.kj is None


def test_parameters_count_shared_ones_once():
    layer = nn.Linear(1000, 999)
    assert parameters_m(nn.Sequential(layer, layer)) == pytest.approx(1.0, abs=0.001)


def test_gflops_count_a_multiply_add_as_two_and_leave_modes_alone():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout(), nn.BatchNorm2d(8)).train()
    model[1].eval()
    assert gflops(model, (10, 20)) == pytest.approx(2 * 3 * 3 * 3 * 8 * 10 * 20 / 1e9)
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert model[2].num_batches_tracked == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: zoo.build("test_mit"),
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=64),
        lambda: Encoder(),
    ],
    ids=["mit", "timm vit", "torch encoder"],
)
def test_gflops_are_the_same_wherever_the_model_lies(build):
    model = build()
    here = gflops(model, (64, 64))
    with torch.device("meta"):
        assert gflops(build(), (64, 64)) == here
    assert next(model.parameters()).device.type == "cpu"
    # It reads a value: there is none on tensors without storage.
    model.register_forward_pre_hook(lambda _, images: float(images[0].sum()) or None)
    assert gflops(model, (64, 64)) == here
    assert torch.backends.mha.get_fastpath_enabled()


class Encoder(nn.Module):
    """A torch encoder layer on rows of the image: its fused kernel is not known to the counter."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(64, 4, batch_first=True)

    def forward(self, image):
        return self.layer(image[:, 0])


def test_gflops_count_attention():
    one, width = 64, 64  # tokens, channels
    linear = 2 * one * width * (3 * width + width + 2 * 2048)
    attention = 2 * 2 * one * one * width
    assert gflops(Encoder(), (one, width)) == pytest.approx((linear + attention) / 1e9)


def test_repeat_stops_at_its_budget_after_three_calls_at_least():
    time = FakeClock()
    assert len(repeat(lambda: time.sleep(1.0), None, seconds=5.0, clock=time)) == 5
    assert repeat(lambda: time.sleep(9.0), None, seconds=5.0, clock=time) == [9.0] * 3
    assert len(repeat(lambda: time.sleep(1e-9), None, seconds=5.0, clock=time)) == 100


def test_inference_times_a_single_image_and_a_batch():
    time, seen = FakeClock(), []

    class Slow(nn.Module):
        def forward(self, image):
            assert image.std() > 0.5
            seen.append((tuple(image.shape), torch.is_autocast_enabled("cpu"), self.training))
            time.sleep(0.1 + 0.1 * len(image))

    model = Slow().train()
    result = measure_inference(
        model,
        (4, 8),
        "cpu",
        "bf16",
        batch=3,
        seconds=2.0,
        clock=time,
    )
    assert (result.latency_ms_p50, result.latency_ms_p90) == (pytest.approx(200),) * 2
    assert result.images_per_second == pytest.approx(3 / 0.4)
    assert (result.batch, result.resolution, result.precision) == (3, (4, 8), "bf16")
    assert {shape for shape, _, _ in seen} == {(1, 3, 4, 8), (3, 3, 4, 8)}
    assert all(autocast and not training for _, autocast, training in seen)
    assert model.training


class FakeGpu:
    """A queue of work that takes `now` from the host and is done with it at `idle`."""

    def __init__(self) -> None:
        self.now = self.idle = 0.0
        self.waited = 0

    def compute(self, seconds: float) -> None:
        self.idle = max(self.idle, self.now) + seconds

    def event(self, enable_timing: bool) -> FakeGpu.Event:
        assert enable_timing
        return FakeGpu.Event(self)

    class Event:
        def __init__(self, gpu: FakeGpu) -> None:
            self.gpu = gpu

        def record(self, stream: object) -> None:
            self.at = max(self.gpu.idle, self.gpu.now)

        def query(self) -> bool:
            return self.gpu.now >= self.at

        def synchronize(self) -> None:
            self.gpu.waited += self.gpu.now < self.at
            self.gpu.now = max(self.gpu.now, self.at)

        def elapsed_time(self, later: FakeGpu.Event) -> float:
            return (later.at - self.at) * 1e3


@pytest.fixture
def gpu(monkeypatch):
    made = FakeGpu()
    monkeypatch.setattr(torch.cuda, "Event", made.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: pytest.fail("waited"))
    return made


def test_a_gpu_is_timed_without_being_waited_for(gpu):
    clock = StepClock(2, torch.device("cuda:1"))
    for waiting, computing in [(0.0, 4.0)] * 5 + [(25.0, 4.0)]:
        with clock.data():
            gpu.now += waiting  # the host waits for the loader
        with clock.compute():
            gpu.now += 0.5  # the host hands over the step's work
            gpu.compute(computing)
        clock.end_step()
    assert gpu.waited == 0
    assert gpu.now == 28.0  # the host never stood still but for the loader
    # The GPU was busy until 20.5, and waited for the last batch from then to 27.5.
    waited, computed = zip(*clock.steps, strict=True)
    assert waited == pytest.approx((0, 0, 0, 0, 0, 7.0))
    assert computed == pytest.approx((4.5, 4, 4, 4, 4, 4.5))
    assert gpu.waited > 0  # only whoever asks for the last step
    assert clock.phases()[-1].images_per_second == pytest.approx(2 / 11.5)
    assert clock.speed() == pytest.approx(2 / 11.5)


def test_inference_on_a_gpu_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    clock_module.synchronise("cpu")
    repeat(lambda: None, torch.device("cuda:1"), 0.0)
    assert waited == [torch.device("cuda:1")] * 4  # after the warm-up, and after each of three


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_memory_and_energy():
    with PeakMemory("cuda") as memory, Energy("cuda") as energy:
        torch.ones(64, 2**18, device="cuda").sum().item()
    assert memory.kind == "gpu allocated"
    assert 64 <= memory.mib <= memory.reserved_mib
    assert energy.kj is None or 0 <= energy.kj < 60


def test_energy_is_the_counters_difference_and_not_known_where_a_part_is_not(monkeypatch):
    counter = iter([1_000_000, 4_000_000, 9_000_000, 10_000_000, *[20_000_000] * 9])
    monkeypatch.setattr(energy_module, "gpu_energy_mj", lambda device: next(counter))
    with Energy("cuda") as energy, energy.paused():  # between 4 and 9 kJ nothing counts
        pass
    assert energy.kj == pytest.approx(10 - 1 - (9 - 4))
    energy.load_state_dict({"kj": None})  # an earlier try on a GPU that does not tell
    with energy:
        pass
    assert energy.kj is None
    energy.load_state_dict({"kj": 3.0})
    assert energy.state_dict() == {"kj": pytest.approx(3.0)}


def test_the_clock_leaves_torch_to_those_who_call_it():
    assert "torch" not in vars(clock_module)
    assert "torch" in sys.modules


def test_operations_of_backward_are_counted_too():
    """A product of two matrices that both learn costs two more of its size in backward."""
    a, b = torch.ones(4, 8, requires_grad=True), torch.ones(8, 2, requires_grad=True)
    assert counted(lambda: (a @ b).sum().backward()) == 3 * 2 * 4 * 8 * 2 / 1e9
