"""Parts of a method that the harness asks before it is built, in the words of who writes one."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from methods.contract import CompanionSpec, Method, TeacherSpec


def checked(method: type[Method]) -> type[Method]:
    """The class. ValueError where its knobs or its class methods are not what `Method` has."""
    from methods.contract import Method

    if not issubclass(method.Config, Method.Config):
        raise ValueError("its Config is another class; expected class Config(Method.Config)")
    for hook in ("frozen_teachers", "companions"):
        if not isinstance(inspect.getattr_static(method, hook), classmethod):
            raise ValueError(f"{hook} is no class method; expected @classmethod above it")
    return method


def networks_beside(
    method: type[Method], config: Any, student: str
) -> tuple[list[TeacherSpec], list[CompanionSpec]]:
    """What a method asks for beside a student. ValueError for what is no list of their specs."""
    from methods.contract import CompanionSpec, TeacherSpec

    teachers = method.frozen_teachers(config, student)
    companions = method.companions(config, student)
    for hook, given, kind in (
        ("frozen_teachers", teachers, TeacherSpec),
        ("companions", companions, CompanionSpec),
    ):
        found = [type(one).__name__ for one in given] if isinstance(given, list) else given
        if not isinstance(given, list) or not all(isinstance(one, kind) for one in given):
            what = f"method {method.__name__}: {hook} gave {found}"
            raise ValueError(f"{what}; expected a list of {kind.__name__}(...)")
    return teachers, companions


def unregistered(method: nn.Module) -> list[str]:
    """Attributes, lists and dictionaries, that hold modules with parameters in no part of a method.

    Nobody moves them to the device, trains or saves them.
    """
    known = {id(module) for module in method.modules()}
    names = []
    for part_name, part in method.named_modules():
        for name, value in vars(part).items():
            held = value.values() if isinstance(value, dict) else value
            if not isinstance(value, dict | list | tuple):
                continue
            modules = [item for item in held if hasattr(item, "named_modules")]
            if any(id(m) not in known and any(True for _ in m.parameters()) for m in modules):
                names.append(f"{part_name}.{name}" if part_name else name)
    return names
