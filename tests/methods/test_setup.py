"""A method is built by `setup`, once its attributes are there; an own __init__ still works."""

from __future__ import annotations

import pytest
import torch

from methods import registry
from methods.contract import Method
from methods.networks.zoo import build
from methods.parts.ema import EMATeacher
from methods.source_only import SourceOnly


class WithSetup(SourceOnly):
    def setup(self, frozen_teachers, companions):
        super().setup(frozen_teachers, companions)
        self.seen = (self.config, self.student, self.generator, self.iterations)
        self.given = [list(frozen_teachers), list(companions)]


class WithInit(WithSetup):
    def __init__(self, config, student, frozen_teachers=(), **given):
        super().__init__(config, student, frozen_teachers, **given)
        self.after_setup = self.given


def test_setup_is_given_the_networks_asked_for_once_the_attributes_are_there():
    config, student, teacher = SourceOnly.Config(), build("test_mit"), build("test_mit")
    chance = torch.Generator()
    for kind in (WithSetup, WithInit):
        method = kind(
            config, student, [teacher], companions=[student], generator=chance, iterations=7
        )
        assert method.seen == (config, student, chance, 7)
        assert method.given == [[teacher], [student]]
    assert method.after_setup is method.given


def test_no_built_in_method_has_an_init_of_its_own():
    for name in registry.names():
        own = [kind for kind in registry.load(name).__mro__ if "__init__" in vars(kind)]
        assert own[0] is Method


class KeepsItsTeacher(Method):
    def setup(self, frozen_teachers, companions):
        (self.teacher,) = frozen_teachers


class KeepsItsAverage(Method):
    def setup(self, frozen_teachers, companions):
        self.ema_teacher = EMATeacher(self.student, 0.9)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            KeepsItsTeacher,
            "keeps the frozen teacher test_mit so that it would learn; expected Frozen",
        ),
        (KeepsItsAverage, "keeps a module as ema_teacher, the name of the property that is scored"),
    ],
)
def test_what_setup_keeps_is_what_it_was_meant_to_be(kind, said):
    with pytest.raises(ValueError, match=said):
        kind(Method.Config(), build("test_mit"), [build("test_mit")])
