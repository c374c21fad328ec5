"""The training loop: schedule, precision, accumulation, logging, losses that are not finite."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from harness.config.schema import Profile
from harness.errors import BenchError
from harness.measure.clock import StepClock
from harness.training.loop import GOLDEN_STEPS, held_mib, train
from harness.training.precision import autocast
from harness.training.trainer import Trainer, rate_factor
from methods.contract import Batch, Method, Segmentation
from methods.parts.losses import cross_entropy

CPU = torch.device("cpu")


def profile(**changes) -> Profile:
    values = {
        "name": "test",
        "description": "",
        "image_size": {},
        "crop": (8, 8),
        "batch_size": 1,
        "iterations": 8,
        "teacher_iterations": 1,
        "lr": 0.1,
        "head_lr_factor": 1.0,
        "warmup": 0,
        "power": 0.0,
        "optimiser": "sgd",
        "weight_decay": 0.0,
        "student": "any",
        "log_every": 4,
    }
    return Profile(**{**values, **changes})


class Pixelwise(nn.Module):
    """A classifier of single pixels: no BatchNorm, so a batch is the mean of its images."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 6, 1)
        self.head = nn.Conv2d(6, 19, 1)

    def forward(self, image):
        features = self.encoder(image).relu()
        return Segmentation(self.head(features), [features], features)


class Supervised(Method):
    def losses(self, batch, step):
        logits = self.student(batch.source_image).logits
        yield {"source": cross_entropy(logits, batch.source_label)}


def method(kind: type[Method] = Supervised) -> Method:
    torch.manual_seed(0)
    return kind(kind.Config(), Pixelwise())


def batches(count: int, size: int = 1) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, size, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 19, (count, size, 8, 8), generator=generator)
    return [Batch(i, label, i[:0]) for i, label in zip(images, labels, strict=True)]


def joined(parts: list[Batch]) -> Batch:
    image = torch.cat([part.source_image for part in parts])
    return Batch(image, torch.cat([part.source_label for part in parts]), image[:0])


def fit(kind=Supervised, data=None, log=None, told=None, **changes):
    settings = profile(**changes)
    trained = method(kind)
    golden = train(
        trained,
        data if data is not None else batches(settings.iterations * settings.accumulation),
        settings,
        CPU,
        clock=StepClock(1, CPU),
        progress=lambda *said: told.append(said) if told is not None else None,
        log=log,
    )
    return trained, golden


def weights(trained: Method) -> torch.Tensor:
    return nn.utils.parameters_to_vector(trained.student.parameters()).detach()


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1e-6),  # warm-up starts at its ratio
        (750, (1 - 750 / 40000) * (1 - 0.5 * (1 - 1e-6))),
        (1499, (1 - 1499 / 40000) * (1 - (1 / 1500) * (1 - 1e-6))),
        (1500, 1 - 1500 / 40000),
        (20000, 0.5),
        (39999, 1 / 40000),
    ],
)
def test_the_rate_follows_the_references_schedule(step, factor):
    settings = profile(iterations=40000, warmup=1500, power=1.0)
    assert rate_factor(step, settings) == pytest.approx(factor, rel=1e-9)


def test_without_warm_up_the_first_rate_is_the_full_one():
    assert rate_factor(0, profile(power=0.9)) == 1
    assert rate_factor(4, profile(power=0.9)) == pytest.approx(0.5**0.9)


def test_a_warm_up_longer_than_the_schedule_never_exceeds_it():
    settings = profile(iterations=4, warmup=50, power=1.0)
    assert all(0 < rate_factor(step, settings) < 0.1 for step in range(4))


def test_every_group_keeps_its_own_base_rate():
    trainer = Trainer(method(), profile(power=1.0, head_lr_factor=10.0), CPU)
    trainer.step(batches(1), 4)
    assert sorted(g["lr"] for g in trainer.optimiser.param_groups) == pytest.approx([0.05, 0.5])


def test_training_lowers_the_loss():
    _, golden = fit(data=batches(1) * 8)
    losses = golden["source"]
    assert losses == sorted(losses, reverse=True)


def test_the_same_seed_gives_the_same_weights():
    assert torch.equal(weights(fit()[0]), weights(fit()[0]))


def test_two_batches_accumulated_equal_one_of_twice_the_size():
    parts = batches(16)
    whole = [joined(parts[i : i + 2]) for i in range(0, 16, 2)]
    accumulated, golden = fit(data=parts, accumulation=2)
    at_once, expected = fit(data=whole, batch_size=2)
    torch.testing.assert_close(weights(accumulated), weights(at_once), rtol=1e-5, atol=1e-6)
    assert golden["source"] == pytest.approx(expected["source"], rel=1e-5)
    assert not torch.equal(weights(accumulated), weights(fit(data=parts[:8])[0]))


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_bf16_stays_near_fp32(optimiser):
    exact, golden = fit(optimiser=optimiser, lr=0.01)
    rough, losses = fit(optimiser=optimiser, lr=0.01, precision="bf16")
    assert weights(rough).dtype == torch.float32
    assert not torch.equal(weights(exact), weights(rough))
    assert losses["source"] == pytest.approx(golden["source"], rel=0.02)
    torch.testing.assert_close(weights(rough), weights(exact), rtol=0.1, atol=0.02)


def test_precision_is_what_the_forward_runs_in():
    seen = {}

    class Spy(Supervised):
        def losses(self, batch, step):
            seen["forward"] = self.student(batch.source_image).logits.dtype
            yield from super().losses(batch, step)

    fit(Spy, precision="bf16")
    assert seen["forward"] == torch.bfloat16
    fit(Spy)
    assert seen["forward"] == torch.float32
    with autocast(CPU, "fp32"):
        assert not torch.is_autocast_enabled("cpu")


def test_every_group_of_terms_is_minimised():
    class Halves(Supervised):
        def losses(self, batch, step):
            for name in ("one", "two"):
                (terms,) = super().losses(batch, step)
                yield {name: 0.5 * terms["source"]}

    torch.testing.assert_close(weights(fit(Halves)[0]), weights(fit()[0]), rtol=1e-5, atol=1e-6)


def test_logged_terms_are_shown_but_not_minimised():
    class Chatty(Supervised):
        def losses(self, batch, step):
            (terms,) = super().losses(batch, step)
            yield {**terms, "log/huge": 1e6 * self.student.head.weight.sum()}

    told: list = []
    chatty, golden = fit(Chatty, told=told)
    assert torch.equal(weights(chatty), weights(fit()[0]))
    assert set(golden) == {"source", "log/huge"}
    assert all("log/huge" in said[1] for said in told)


def test_a_group_may_be_all_for_show():
    class Watching(Supervised):
        def losses(self, batch, step):
            yield {"log/step": torch.tensor(float(step))}
            yield from super().losses(batch, step)

    watching, golden = fit(Watching)
    assert torch.equal(weights(watching), weights(fit()[0]))
    assert golden["log/step"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(value):
    class Diverging(Supervised):
        def losses(self, batch, step):
            (terms,) = super().losses(batch, step)
            yield {**terms, "bad": terms["source"] * (value if step == 2 else 1)}

    with pytest.raises(BenchError, match=r"'bad' became (nan|inf) at step 2") as error:
        fit(Diverging)
    assert "--set lr" in str(error.value)


def test_a_late_divergence_is_found_too():
    """Between two looks at the log nothing is read from the device; the last step always is."""

    class Late(Supervised):
        def losses(self, batch, step):
            (terms,) = super().losses(batch, step)
            yield {"source": terms["source"] * (math.nan if step >= 6 else 1)}

    with pytest.raises(BenchError, match="became nan"):
        fit(Late, log_every=100)


def test_the_first_losses_are_kept():
    _, golden = fit()
    assert {len(values) for values in golden.values()} == {GOLDEN_STEPS}
    fresh = method()
    expected = [t["source"].item() for t in fresh.losses(batches(8)[0], 0)]
    assert golden["source"][0] == expected[0]
    assert len(fit(iterations=2)[1]["source"]) == 2


def test_progress_and_log_hear_every_so_many_steps_and_the_last(tmp_path):
    log, told = tmp_path / "log.jsonl", []
    fit(iterations=10, log=log, told=told)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 10]
    assert [said[0] for said in told] == [4, 8, 10]
    for line, (_, losses, speed) in zip(lines, told, strict=True):
        assert line["source"] == losses["source"]
        assert line["images_per_second"] == speed > 0


def test_a_log_that_cannot_be_written_is_said_once(tmp_path, capsys):
    told = []
    fit(iterations=10, log=tmp_path, told=told)  # a folder
    assert len(told) > 1
    assert capsys.readouterr().out.count("the log could not be written") == 1


def test_a_sparse_tensor_that_a_method_holds_is_no_matter():
    sparse = torch.eye(3).to_sparse()
    assert held_mib(sparse.device) >= 0


def test_the_log_is_of_whole_lines_at_any_time(tmp_path):
    """A killed run leaves what it has logged, and no half line."""
    log, texts = tmp_path / "log.jsonl", []

    class Reading(Supervised):
        def losses(self, batch, step):
            texts.append(log.read_text())
            yield from super().losses(batch, step)

    fit(Reading, iterations=8, log=log, log_every=2)
    assert [text.count("\n") for text in texts] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(text == "" or text.endswith("}\n") for text in texts)


def test_the_method_hears_of_every_step_after_the_optimiser():
    class Counting(Supervised):
        heard: tuple = ()

        def losses(self, batch, step):
            self.before = weights(self).clone()
            yield from super().losses(batch, step)

        def after_step(self, step):
            assert not torch.equal(weights(self), self.before)
            self.heard = (*self.heard, step)

    assert fit(Counting, accumulation=2)[0].heard == tuple(range(8))


def test_the_method_is_put_in_training_mode():
    trained = method()
    trained.eval()
    settings = profile()
    train(trained, batches(8), settings, CPU, clock=StepClock(1, CPU), progress=lambda *_: None)
    assert trained.student.training


def test_a_groups_graph_is_freed_before_the_next_is_built():
    """What the loop itself holds on to must not keep a method's last graph alive."""
    import weakref

    alive: list = []

    class Grouped(Supervised):
        def losses(self, batch, step):
            for name in ("one", "two", "three"):
                assert not [ref for ref in alive if ref() is not None]
                output = self.student(batch.source_image)
                alive.append(weakref.ref(output.logits))
                term = cross_entropy(output.logits, batch.source_label)
                del output
                yield {name: term}
                del term

    fit(Grouped, iterations=2)


class Contested(Supervised):
    """A critic scores the student's maps: it learns, and the student must not notice."""

    rests = False

    def __init__(self, *networks, **given):
        super().__init__(*networks, **given)
        self.critic = nn.Conv2d(19, 1, 1)

    def critic_groups(self):
        return [{"params": list(self.critic.parameters()), "lr": 0.01}]

    def losses(self, batch, step):
        logits = self.student(batch.source_image).logits
        yield {"source": cross_entropy(logits, batch.source_label)}
        if not self.rests:
            yield {"critic": (self.critic(logits.detach()) - 1).square().mean()}


class Resting(Contested):
    rests = True


def test_a_critic_learns_beside_the_student_and_changes_nothing_for_it():
    contested, golden = fit(Contested, accumulation=2)
    assert golden["critic"] == sorted(golden["critic"], reverse=True)
    assert torch.equal(weights(contested), weights(fit(accumulation=2)[0]))


def test_critics_have_adam_and_a_schedule_of_their_own():
    trainer = Trainer(method(Contested), profile(warmup=8), CPU)
    trainer.step(batches(1), 4)
    _, critics = trainer.schedules
    assert isinstance(critics, torch.optim.Adam)
    (group,) = critics.param_groups
    assert group["betas"] == (0.9, 0.99)
    assert group["lr"] == pytest.approx(0.01 * 0.5**0.9)
    assert len(Trainer(method(), profile(), CPU).schedules) == 1


@pytest.mark.parametrize("kind", [Contested, Resting])
def test_one_scaler_serves_both_optimisers(kind):
    """Its own gradients decide whether an optimiser steps; one without any is left alone."""
    trained, golden = fit(kind, precision="fp16")
    assert all(math.isfinite(value) for value in golden["source"])
    assert not torch.equal(weights(trained), weights(method(kind)))
    untouched = torch.equal(trained.critic.weight, method(kind).critic.weight)
    assert untouched == kind.rests


class InGroups(Method):
    """Three groups; the second reaches the head alone."""

    def losses(self, batch, step):
        for group in range(3):
            segmentation = self.student(batch.source_image)
            features = segmentation.features[0]
            logits = self.student.head(features.detach()) if group == 1 else segmentation.logits
            yield {"term": (group + 1) * cross_entropy(logits, batch.source_label)}


def test_gradients_of_several_groups_are_summed():
    trained = method(InGroups)
    [batch] = batches(1)
    expected = method()
    loss = cross_entropy(expected.student(batch.source_image).logits, batch.source_label)
    loss.backward()
    Trainer(trained, profile(), CPU).step([batch], 0)
    shares = {"encoder": 4, "head": 6}
    for (name, one), other in zip(
        trained.student.named_parameters(), expected.student.parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, shares[name.split(".")[0]] * other.grad)
