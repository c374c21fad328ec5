"""How networks are executed: what a profile may ask for, and what becomes of it here."""

from __future__ import annotations

import pytest
import torch

from harness.config import catalogue
from harness.config.schema import Profile
from harness.training import execution
from harness.training.trainer import Trainer
from methods import registry
from methods.contract import Batch
from methods.networks import zoo

CPU = torch.device("cpu")


def profile(**changes) -> Profile:
    values = catalogue.profile("tiny").model_dump() | {"iterations": 10, **changes}
    return Profile(**values)


def made(name: str = "daformer", **knobs):
    torch.manual_seed(0)
    method = registry.load(name)
    config = method.Config(**knobs)
    student = zoo.build("test_mit")
    teachers = [zoo.build(asked.network) for asked in method.frozen_teachers(config, "test_mit")]
    return method(config, student, teachers, iterations=10).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 2, 3, 64, 64, generator=generator)
    label = torch.randint(0, 19, (2, 8, 8), generator=generator)
    label = label.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return Batch(images[0], label, images[1])


def losses(method, **changes) -> dict[str, float]:
    settings = profile(**changes)
    unmet = execution.prepare(method, settings, CPU)
    assert unmet == []
    trainer = Trainer(method, settings, CPU)
    for step in range(2):
        torch.manual_seed(step)
        terms = trainer.step([batch()], step)
    return {name: float(value) for name, value in terms.items()}


@pytest.mark.parametrize(
    "wish", [{"channels_last": True}, {"checkpointing": True}, {"compile": "default"}], ids=str
)
def test_the_same_losses_however_executed(wish, monkeypatch):
    # Inductor takes minutes of a CPU for this; what it is given is what this backend runs.
    monkeypatch.setitem(execution.OPTIONS, "default", {"backend": "eager"})
    monkeypatch.setattr(execution, "_no_compiler", lambda device: "")
    plain = losses(made(ignore_bottom=0))
    assert set(plain) == {"source", "feature_distance", "mixed", "log/pseudo_weight"}
    assert losses(made(ignore_bottom=0), **wish) == pytest.approx(plain, rel=1e-3)


def test_images_and_convolutions_are_channels_last():
    method = made()
    settings = profile(channels_last=True)
    execution.prepare(method, settings, CPU)
    seen = execution.laid_out(batch(), settings)
    assert seen.source_image.is_contiguous(memory_format=torch.channels_last)
    assert seen.target_image.is_contiguous(memory_format=torch.channels_last)
    convolutions = [p for p in method.parameters() if p.ndim == 4 and p[0].numel() > p.shape[1] > 1]
    assert convolutions
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in convolutions)


def test_no_gradient_of_mit_is_copied_into_another_order():
    method = made()
    execution.prepare(method, profile(), CPU)
    encoder = method.student.encoder
    (method.student(batch().source_image).features[-1]).square().mean().backward()
    learnt = [p for p in encoder.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert learnt
    for weight in learnt:
        assert weight.is_contiguous(memory_format=torch.channels_last)
        assert weight.grad.stride() == weight.stride()


def test_frozen_networks_alone_are_held_in_bf16():
    method = made()
    assert execution.prepare(method, profile(precision="bf16", frozen_precision="bf16"), CPU) == []
    types = {name: {p.dtype for p in part.parameters()} for name, part in method.named_children()}
    assert types["imagenet"] == {torch.bfloat16}
    assert types["student"] == types["ema"] == {torch.float32}
    terms = Trainer(method, profile(precision="bf16"), CPU).step([batch()], 0)
    assert float(terms["feature_distance"]) == pytest.approx(0, abs=1e-2)


def test_bf16_weights_without_bf16_computation_are_refused_by_name():
    method = made()
    unmet = execution.prepare(method, profile(frozen_precision="bf16"), CPU)
    assert unmet == ["frozen_precision=bf16 needs precision=bf16, not fp32: fp32 instead"]
    assert {p.dtype for p in method.parameters()} == {torch.float32}


def test_a_machine_that_cannot_compile_runs_eagerly_and_says_why(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("Failed to find\n C++ compiler")

    monkeypatch.setattr(torch, "compile", broken)
    method = made()
    unmet = execution.prepare(method, profile(compile="default"), CPU)
    assert unmet == [
        "compile=default: torch.compile does not work here (Failed to find C++ compiler): "
        "eager instead"
    ]
    assert method.student.encoder._compiled_call_impl is None


def test_cuda_graphs_on_a_cpu_are_said_to_be_left_out(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    unmet = execution.prepare(made(), profile(compile="cudagraphs"), CPU)
    assert unmet == ["compile=cudagraphs needs a GPU, not cpu: default instead"]


def test_a_network_that_cannot_compute_again_is_named():
    method = made("source_only")
    method.student = zoo.build("test_deeplab")
    method.student.encoder = torch.nn.Conv2d(3, 8, 1)
    [unmet] = execution.prepare(method, profile(checkpointing=True), CPU)
    assert unmet.startswith("checkpointing=true: test_deeplab cannot")


def test_norms_that_are_compiled_are_not_computed_again_and_the_run_says_so(monkeypatch):
    monkeypatch.setattr(execution, "_no_compiler", lambda device: "")
    method = made("source_only")
    method.student = zoo.build("test_deeplab")
    [unmet] = execution.prepare(method, profile(checkpointing=True, compile="default"), CPU)
    assert "test_deeplab cannot checkpoint its activations when compiled" in unmet
    assert execution.prepare(made(), profile(checkpointing=True, compile="default"), CPU) == []


def test_each_network_of_an_ensemble_is_compiled(monkeypatch):
    monkeypatch.setattr(execution, "_no_compiler", lambda device: "")
    first, second = zoo.build("test_mit"), zoo.build("mini_xs")
    duda = registry.load("duda")
    config = duda.Config(teacher="test_mit", further_teachers=("mini_xs",), lambda_fd=0)
    student = zoo.build("mini_xs")
    method = duda(config, student, [], iterations=10, companions=[first, second])
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part, **_: compiled.append(id(part)))
    assert execution.prepare(method, profile(compile="default"), CPU) == []
    for network in (student, first, second):
        assert {id(network.encoder), id(network.head)} <= set(compiled)
