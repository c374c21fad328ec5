"""Methods joined by `+`: whose terms, whose knobs, and what cannot be joined."""

from __future__ import annotations

import pytest
import torch
from pydantic import Field

from methods import registry
from methods.composition import Part, compose, join
from methods.contract import Batch, Method
from methods.daformer import DAFormer
from methods.dualkd import DualKD
from methods.mic import MIC
from methods.networks.zoo import build


class Base(Method):
    class Config(Method.Config):
        shared: float = Field(1.0, ge=0, description="of all")

    def words(self) -> list[str]:
        return ["base"]


class Adding(Base):
    class Config(Base.Config):
        mine: int = Field(3, description="of Adding")

    def words(self) -> list[str]:
        return [*super().words(), "adding"]


class Replacing(Base):
    class Config(Base.Config):
        shared: float = Field(0.0, ge=0, description="none here")

    def words(self) -> list[str]:
        return ["replacing"]


class AlsoReplacing(Base):
    @property
    def hidden(self) -> int:
        return 0

    @classmethod
    def words(cls) -> list[str]:  # type: ignore[override]
        return ["also"]


def joined(*methods: type[Method]) -> type:
    return compose(tuple(Part(method.__name__.lower(), method) for method in methods))


def test_dualkd_and_mic_have_the_terms_of_both():
    kind = registry.load("dualkd+mic")
    assert kind.__mro__[1:4] == (MIC, DualKD, DAFormer)
    source, target = torch.randn(2, 2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    label = torch.randint(0, 19, (2, 32, 64), generator=torch.Generator().manual_seed(2))
    method = kind(kind.Config(mask_block=8), build("test_mit"), [build("test_deeplab")]).train()
    terms = [name for group in method.losses(Batch(source, label, target), 0) for name in group]
    assert terms == ["source", "kd_target", "mixed", "log/pseudo_weight", "masked"]


def test_its_knobs_are_those_of_both_with_the_defaults_of_who_declares_them():
    config = registry.load("dualkd+mic").Config
    assert (
        config.model_fields.keys() == (MIC.Config.model_fields | DualKD.Config.model_fields).keys()
    )
    assert config().lambda_fd == DualKD.Config().lambda_fd == 0
    assert MIC.Config().lambda_fd > 0
    description = DualKD.Config.model_fields["lambda_fd"].description
    assert config.model_fields["lambda_fd"].description == description
    assert description != MIC.Config.model_fields["lambda_fd"].description
    expected = DualKD.Config().model_dump() | {"mask_ratio": 0.7, "mask_block": 64}
    expected |= {"mask_augment": True, "mask_source": False, "lambda_mask": 1.0}
    assert config().model_dump() == expected
    for wrong in ({"mask_ratio": 2}, {"lambda_fd": -1}, {"no_such_knob": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            config(**wrong)


def test_a_knobs_default_does_not_depend_on_the_order():
    for pair in ((Adding, Replacing), (Replacing, Adding)):
        assert joined(*pair).Config().model_dump() == {"loss_stride": 1, "shared": 0, "mine": 3}


def test_one_name_however_it_is_written():
    assert registry.canonical("mic+dualkd") == registry.canonical("dualkd+mic") == "dualkd+mic"
    assert registry.load("mic+dualkd") is registry.load("dualkd+mic")
    assert registry.canonical("daformer") == "daformer"


def test_it_says_what_it_is_made_of():
    kind = registry.load("dualkd+mic")
    assert kind.__name__ == "dualkd+mic"
    assert kind.title == f"{DualKD.title} + {MIC.title}"
    assert kind.paper == f"{DualKD.paper}; {MIC.paper}"
    assert registry.summary("mic+dualkd") == (
        f"{registry.summary('dualkd')} {registry.summary('mic')}"
    )


@pytest.mark.parametrize("pair", [(Adding, Replacing), (Replacing, Adding)])
def test_who_calls_super_comes_first(pair):
    method = joined(*pair)
    assert method.__mro__[1:4] == (Adding, Replacing, Base)
    assert method.words(method.__new__(method)) == ["replacing", "adding"]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((Replacing, AlsoReplacing), "both replace words"),
        ((Base, Adding), "base is a part of adding already"),
        ((Adding, Base), "base is a part of adding already"),
        ((MIC, MIC), "mic is a part of mic already"),
        ((MIC, Adding), "build on no common method"),
        ((Adding, Replacing, AlsoReplacing), "both replace words"),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_reason(parts, reason):
    with pytest.raises(ValueError, match=reason):
        join([Part(method.__name__.lower(), method) for method in parts])


def test_the_refusal_names_what_can_be_joined():
    with pytest.raises(ValueError, match="no common method") as error:
        registry.load("mic+oracle")
    text = str(error.value)
    assert "\n" not in text
    assert "oracle combines with nothing" in text
    combines = text.partition("mic combines with ")[2].partition(";")[0].split(", ")
    assert {"dacs", "dualkd"} <= set(combines)
    assert not {"mic", "daformer", "oracle"} & set(combines)


@pytest.mark.parametrize("name", ["dacs+mic", "dacs+dualkd+mic"])
def test_more_than_these_two_can_be_joined(name):
    config = registry.load(name).Config()
    assert config.ema_alpha == 0.99
    assert config.mask_ratio == 0.7
