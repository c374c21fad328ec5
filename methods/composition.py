"""Methods joined by `+`: several classes as one, each adding its terms through super()."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from itertools import combinations, permutations
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, create_model

from methods import built_in
from methods.contract import Method


class Part(NamedTuple):
    """One of the joined methods."""

    name: str
    method: type[Method]


@cache
def compose(parts: tuple[Part, ...]) -> type[Method]:
    """One method out of several. ValueError, with what does combine, where they do not."""
    try:
        bases = join(parts)
    except ValueError as error:
        known = "; ".join(
            f"{part.name} combines with {', '.join(partners(part)) or 'nothing'}"
            for part in dict.fromkeys(parts)
        )
        raise ValueError(f"{error}: {known}") from None
    described = {
        "title": " + ".join(part.method.title for part in parts),
        "paper": "; ".join(part.method.paper for part in parts if part.method.paper),
        "__doc__": "\n".join(f"{part.name}: {inspect.getdoc(part.method)}" for part in parts),
        "__module__": __name__,
        "Config": join_configs([base.Config for base in bases]),
    }
    return cast("type[Method]", type("+".join(part.name for part in parts), bases, described))


def partners(part: Part) -> list[str]:
    """Names of the built-in methods that can be joined with this one."""
    joinable = []
    for name, address in built_in.BUILT_IN.items():
        try:
            join((part, Part(name, built_in.load(address))))
        except ValueError:
            continue
        joinable.append(name)
    return joinable


def join(parts: Sequence[Part]) -> tuple[type[Method], ...]:
    """The parts' classes in an order of inheritance in which every hook reaches all of them.

    The last named comes first, `dualkd+mic` being mic on top of dualkd, unless a hook
    of one would then never be called. ValueError with the reason where no order will do.
    """
    for a, b in combinations(parts, 2):
        if issubclass(a.method, b.method) or issubclass(b.method, a.method):
            inner, outer = (b, a) if issubclass(a.method, b.method) else (a, b)
            raise ValueError(f"{inner.name} is a part of {outer.name} already")
    if len({family(part.method) for part in parts}) > 1:
        raise ValueError("they build on no common method")
    reasons = []
    for order in permutations(part.method for part in reversed(parts)):
        reason = clash(order)
        if not reason:
            return order
        reasons.append(reason)
    raise ValueError(reasons[0])


def family(method: type[Method]) -> type:
    """The class right above Method that a method builds on, possibly itself."""
    return method.__mro__[method.__mro__.index(Method) - 1]


def clash(bases: tuple[type[Method], ...]) -> str:
    """Why these bases, in this order, make no method; nothing where they do.

    Of two that define the same hook, neither built on the other, the first must call super().
    """
    try:
        mro = type("joined", bases, {}).__mro__[1:]
    except TypeError:
        return "their classes have no common order of inheritance"
    for first, second in combinations(mro, 2):
        if not issubclass(first, second):
            for hook in vars(first).keys() & vars(second).keys():
                if replaces(vars(first)[hook]):
                    return f"{first.__name__} and {second.__name__} both replace {hook}"
    return ""


def replaces(attribute: Any) -> bool:
    """Whether it is a function (a class method, a property's) that never calls super()."""
    function = getattr(attribute, "__func__", None) or getattr(attribute, "fget", None) or attribute
    code = getattr(function, "__code__", None)
    return code is not None and "__class__" not in code.co_freevars


def join_configs(bases: Sequence[type[BaseModel]]) -> type[BaseModel]:
    """One Config of several: a knob is that of the first in inheritance order that declares it.

    Pydantic would take it from the first that has it, inherited ones included: a default that
    one method overrides would come back through another that merely inherits it.
    """
    knobs: dict[str, Any] = {}
    for owner in reversed(type("Config", tuple(bases), {}).__mro__):
        if issubclass(owner, BaseModel):
            fields = owner.model_fields
            declared = [name for name in inspect.get_annotations(owner) if name in fields]
            knobs |= {name: (fields[name].annotation, fields[name]) for name in declared}
    return create_model("Config", __base__=tuple(bases), __module__=__name__, **knobs)
