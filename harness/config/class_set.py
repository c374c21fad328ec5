"""A class set (benchmarks/classes/*.toml): names, colours, things, ways to score them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Labels are bytes, and 255 is ignored.
MOST_CLASSES = 255
#: The convention of a class set that names none: the mean over all of its classes.
ALL = "all"

Colour = tuple[
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Convention(Strict):
    """How an mIoU is made of the confusion matrix."""

    title: str = ""
    labelled: tuple[Name, ...] = Field(
        (), description="pixels of every other class are ignored first; none: all count"
    )
    mean: tuple[Name, ...] = Field((), description="classes that the mean is over; none: all")
    groups: dict[Name, tuple[Name, ...]] = Field(
        {}, description="classes that become one before anything is scored, by the group's name"
    )

    def classes(self) -> set[str]:
        """Every class that it names."""
        return {*self.labelled, *self.mean, *(c for group in self.groups.values() for c in group)}


class ClassSet(Strict):
    """The classes that a network tells apart, in the order of their train ids."""

    name: str
    title: str = ""
    names: tuple[Name, ...] = Field(min_length=2, max_length=MOST_CLASSES)
    things: tuple[Name, ...] = Field(
        (), description="countable objects: DAFormer's feature distance keeps to them; none: to all"
    )
    colours: dict[Name, Colour] = Field({}, description="RGB; those left out are chosen")
    label_ids: dict[Name, Annotated[int, Field(ge=0, le=255)]] = Field(
        {}, description="what an official evaluation takes for each class"
    )
    conventions: dict[Name, Convention] = Field(
        {}, description="ways to score; none: the mean over all classes, called all"
    )

    @model_validator(mode="after")
    def _only_its_own_classes(self) -> ClassSet:
        if len(set(self.names)) < len(self.names):
            double = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"the class {double!r} is named twice; expected each once")
        if IGNORED in self.names:
            raise ValueError(f"a class is called {IGNORED!r}, which stands for no class: rename it")
        named: dict[str, Iterable[str]] = {
            "things": self.things,
            "colours": self.colours,
            "label_ids": self.label_ids,
        }
        named |= {f"conventions.{name}": c.classes() for name, c in self.conventions.items()}
        for where, names in named.items():
            strange = sorted(set(names) - set(self.names))
            if strange:
                raise ValueError(
                    f"{where} names {', '.join(map(repr, strange))}; expected some of "
                    f"{', '.join(self.names)}"
                )
        if self.label_ids and set(self.label_ids) != set(self.names):
            raise ValueError("label_ids has not every class; expected an id for each, or no table")
        return self

    def __len__(self) -> int:
        return len(self.names)

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """A colour for every class, RGB."""
        return tuple(
            self.colours.get(name, distinct_colour(i)) for i, name in enumerate(self.names)
        )

    @property
    def thing_ids(self) -> tuple[int, ...]:
        return self.ids_of(self.things)

    def ids_of(self, names: Iterable[str]) -> tuple[int, ...]:
        """Train ids of classes, in their order here."""
        wanted = set(names)
        return tuple(i for i, name in enumerate(self.names) if name in wanted)

    @property
    def ways_to_score(self) -> dict[str, Convention]:
        """Its conventions by name; at least the mean over all classes."""
        return self.conventions or {ALL: Convention.model_validate({})}


#: What a class becomes that is no class here, in a scenario's tables of classes.
IGNORED = "ignored"


def distinct_colour(number: int) -> tuple[int, int, int]:
    """The colour number n of a sequence whose neighbours are far apart; none is black.

    Source: bits of n spread over the channels, as PASCAL VOC's colour map.
    """
    number, channels = number + 1, [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            channels[channel] |= (number & 1) << bit
            number >>= 1
    return channels[0], channels[1], channels[2]
