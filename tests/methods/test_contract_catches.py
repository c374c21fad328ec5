"""The contract suite can fail: methods that break it, each in one way, and who says so."""

from __future__ import annotations

import random

import pytest
import torch
from broken_methods import BROKEN as BROKEN_METHODS
from broken_methods import OnTarget, OnTargetAlone, Sound, WithTeacher
from broken_networks import BROKEN as BROKEN_NETWORKS
from broken_networks import SOUND

from methods.daformer import DAFormer
from methods.networks import zoo
from methods.source_only import SourceOnly
from methods.testing import ContractError, cases
from methods.testing.suite import CHECKS

BROKEN = BROKEN_METHODS | BROKEN_NETWORKS


class GradientPenalty(Sound):
    """Sound: a term of a gradient, which the method asks autograd for."""

    def losses(self, batch, step):
        image = batch.source_image.clone().requires_grad_(True)
        probability = self.student(image).logits.softmax(1)
        (gradient,) = torch.autograd.grad(probability[:, 0].mean(), image, create_graph=True)
        yield {"penalty": gradient.square().sum()}
        del probability, gradient
        yield {"source": self.source(batch)}


class DrawsFromRandom(OnTarget):
    """Chance that no seed repeats is neither the target's labels nor a memory."""

    def losses(self, batch, step):
        for terms in super().losses(batch, step):
            yield {name: term * (1 + random.random()) for name, term in terms.items()}


class IsNaN(OnTarget):
    """NaN is unlike itself, and yet no sign of target labels."""

    def losses(self, batch, step):
        for terms in super().losses(batch, step):
            yield {name: term * float("nan") for name, term in terms.items()}


def run(method, name):
    for case in cases(method, networks=["test_mit"]):
        if case.name == name and case.subject.variant in ("defaults", case.check.variants[0]):
            case.run()


@pytest.mark.parametrize("method", BROKEN, ids=lambda method: method.__name__)
def test_a_broken_method_is_caught(method):
    name, reason = BROKEN[method]
    # What the method's own code raises is as good a verdict as the suite's.
    with pytest.raises((ContractError, AssertionError, RuntimeError), match=reason):
        run(method, name)


class MixesTargetLabels(DAFormer):
    """The target's labels in place of pseudo-labels: it shows where these have a weight."""

    def label_target(self, batch):
        pseudo = super().label_target(batch)
        if batch.target_label is None:
            return pseudo
        return pseudo._replace(label=batch.target_label.clamp(max=18))


def test_labels_of_the_target_on_mixed_images_are_caught():
    asked = [
        case
        for case in cases(MixesTargetLabels, networks=["test_mit"])
        if (case.name, case.subject.variant) == ("target_labels_change_nothing", "confident")
    ]
    with pytest.raises(ContractError, match="depend on the target's labels"):
        asked[0].run()


@pytest.mark.parametrize(
    "name", ["target_labels_change_nothing", "the_state_dict_resumes_it_exactly"]
)
def test_chance_is_called_chance(name):
    with pytest.raises(ContractError, match="two runs of one seed differ; expected that every"):
        run(DrawsFromRandom, name)


@pytest.mark.parametrize(
    "name",
    [
        "target_labels_change_nothing",
        "equal_seeds_give_equal_steps",
        "the_state_dict_resumes_it_exactly",
    ],
)
def test_nan_is_not_taken_for_another_fault(name):
    run(IsNaN, name)


def test_every_check_can_fail():
    assert {check.function.__name__ for check in CHECKS} == {name for name, _ in BROKEN.values()}


class ForwardForNothing(Sound):
    """A graph that is never backpropagated, and let go of, is no growth."""

    def losses(self, batch, step):
        unused = self.student(batch.source_image).logits
        del unused
        yield {"source": self.source(batch)}


@pytest.mark.parametrize("method", [Sound, WithTeacher, OnTargetAlone])
def test_what_they_are_made_from_keeps_to_it(method):
    for case in cases(method, networks=["test_mit"]):
        case.run()


@pytest.mark.parametrize("method", SOUND)
def test_a_method_may_hold_parts_still_and_average_others(method):
    asked = {name for name, _ in BROKEN_NETWORKS.values()} | {
        "a_frozen_teacher_stays_as_it_was_given",
        "param_groups_hold_what_learns_each_once",
        "the_head_learns_faster_by_the_factor",
        "every_term_teaches_someone",
    }
    for case in cases(method, networks=["test_mit"]):
        if case.name in asked:
            case.run()


@pytest.mark.parametrize("name", ["it_seldom_waits_for_a_gpu", "the_harness_alone_backpropagates"])
def test_a_gradient_may_be_part_of_a_term(name):
    run(GradientPenalty, name)


@pytest.mark.parametrize("name", ["one_graph_is_alive_at_a_time", "memory_does_not_grow"])
def test_a_forward_for_nothing_keeps_to_it(name):
    run(ForwardForNothing, name)


def test_each_network_and_each_differing_variant_is_asked():
    asked = {str(case) for case in cases(SourceOnly)}
    assert "terms_are_named_finite_scalars[test_deeplab, all terms]" in asked
    assert not any("source phase" in case and "terms_are" in case for case in asked)
    assert all(network in zoo.names() for network in ("test_mit", "test_deeplab"))
