"""benchmarks/speed/correctness.py: one device's losses and gradients against another's."""

from __future__ import annotations

import contextlib

import pytest
import torch
from speed_scripts import load

from harness.runs.speed.cases import SpeedCase
from methods.networks import zoo

correctness = load("correctness")


def test_a_cpu_agrees_with_itself_in_every_precision():
    case = SpeedCase(
        method="source_only", student="test_mit", profile="tiny", overrides=("crop=32,64",)
    )
    findings = correctness.compare(case, torch.device("cpu"))
    assert [finding["precision"] for finding in findings] == ["fp32", "bf16", "fp16"]
    assert all(finding["within"] for finding in findings)


def test_a_device_that_computes_something_else_is_found(monkeypatch):
    case = SpeedCase(
        method="source_only", student="test_mit", profile="tiny", overrides=("crop=32,64",)
    )
    honest = correctness.two_steps

    def off_by_two_percent(case, device, precision, state):
        terms, gradient, *others = honest(case, device, precision, state)
        return terms, gradient * (1 if state is None else 1.02), *others

    monkeypatch.setattr(correctness, "two_steps", off_by_two_percent)
    findings = correctness.compare(case, torch.device("cpu"))
    assert not next(f for f in findings if f["precision"] == "fp32")["within"]


@pytest.mark.parametrize("method", ["dualkd", "mic"])
def test_every_term_is_compared_and_agrees(monkeypatch, method):
    # Two threads on a busy machine take many times as long; another test has them.
    monkeypatch.setattr(correctness, "computing_threads", lambda *_: contextlib.nullcontext())
    case = SpeedCase(method=method, student="test_mit", profile="tiny", overrides=("crop=96,192",))
    cpu = torch.device("cpu")
    terms, gradient, state, _ = correctness.two_steps(case, cpu, "fp32", None)
    assert terms["log/pseudo_weight, step 1"] > 0.9
    assert min(terms.values()) > 1e-3, terms
    # Without the feature distance's weight the gradient is another: its path is compared.
    without = case.model_copy(update={"overrides": (*case.overrides, "lambda_fd=1e-9")})
    _, other, *_ = correctness.two_steps(without, cpu, "fp32", state)
    assert (other - gradient).norm() > 1e-3 * gradient.norm()
    findings = correctness.compare(case, cpu, ("bf16", "fp16"))
    assert [finding["within"] for finding in findings] == [True, True], findings


def test_what_was_not_compiled_is_not_within(monkeypatch):
    from harness.training import execution

    monkeypatch.setattr(execution, "_no_compiler", lambda device: "no Triton")
    case = SpeedCase(
        method="source_only",
        student="test_mit",
        profile="tiny",
        overrides=("crop=32,64", "compile=default"),
    )
    (finding,) = correctness.compare(case, torch.device("cpu"), ("fp32",))
    assert finding["gradient"] < 1e-3
    assert "no Triton" in finding["unmet"][0]
    assert not finding["within"]


@pytest.mark.parametrize("network", ["test_mit", "daformer_mitb0", "timm:pvt_v2_b0"])
def test_nothing_is_drawn_in_a_comparison(network):
    """Two devices draw other numbers: dropout and drop-path, by whatever name, must rest."""
    student = zoo.build(network).train()
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(student(image).logits, student(image).logits)
    correctness.without_dropout(student)
    assert torch.equal(student(image).logits, student(image).logits)
