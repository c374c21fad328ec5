"""What is measured: methods with their networks at a profile's shapes, and such lists crossed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from harness.config.network_files import configs, pinned
from harness.config.planning import Request, find_method, resolve
from harness.errors import BenchError

if TYPE_CHECKING:
    from harness.config.planning import Plan

#: Names the classes and conventions of a plan; none of its images are read.
SCENARIO = "gta2cs"


class SpeedCase(BaseModel):
    """One thing to measure, as the user named it; equal cases of two revisions are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    student: str | None = None
    teacher: str | None = None
    profile: str
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        networks = [name for name in (self.student, self.teacher) if name]
        return " ".join([self.method, *networks, *self.overrides])

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """What those of its networks that were config files are made of, for another process."""
        return configs(name for name in (self.student, self.teacher) if name)

    def plan(self) -> Plan:
        """The run that is measured, without a data set. BenchError for what does not fit."""
        request = Request(
            method=self.method,
            scenario=SCENARIO,
            profile=self.profile,
            student=self.student,
            teacher=self.teacher,
            overrides=self.overrides,
        )
        return resolve(request, None)


def cross(
    methods: Sequence[str],
    profile: str,
    students: Sequence[str] = (),
    teachers: Sequence[str] = (),
    crossed: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> list[SpeedCase]:
    """Every combination once; a teacher is for methods that have one, as in a suite.

    `crossed` are texts KEY=VALUE,VALUE; a value that is a list is in brackets. BenchError where a
    combination cannot be planned, or where no method has a teacher.
    """
    with_teacher = {m: "teacher" in find_method(m).Config.model_fields for m in methods}
    if teachers and not any(with_teacher.values()):
        raise BenchError(
            f"--teacher {','.join(teachers)}: no method of {','.join(methods)} has a teacher; "
            "expected one that has, such as dualkd."
        )
    values = [_values(text) for text in crossed]
    cases = []
    for method in methods:
        chosen: list[str | None] = [*teachers] if with_teacher[method] else []
        learners: list[str | None] = [*students]
        networks = product(learners or [None], chosen or [None])
        for (student, teacher), settings in product(networks, product(*values)):
            case = SpeedCase(
                method=method,
                student=student,
                teacher=teacher,
                profile=profile,
                overrides=(*overrides, *settings),
            )
            cases.append(_with_defaults(case, with_teacher[method]))
    return list(dict.fromkeys(cases))


def _with_defaults(case: SpeedCase, has_teacher: bool) -> SpeedCase:
    """The case with the networks that it leaves to profile and method; config files by name."""
    spec = case.plan().spec
    beside = [*spec.teachers, *spec.companions]
    teacher = beside[0]["network"] if has_teacher and beside else None
    student = pinned(case.student) if case.student else spec.student
    teacher = pinned(case.teacher) if case.teacher else teacher
    return case.model_copy(update={"student": student, "teacher": teacher})


def _values(text: str) -> list[str]:
    """`KEY=A,B` as `KEY=A`, `KEY=B`; commas inside of brackets part nothing."""
    key, equals, listed = text.partition("=")
    if not equals or not listed:
        raise BenchError(f"--cross {text}: expected KEY=VALUE,VALUE, such as compile=off,default.")
    parts, depth = [""], 0
    for letter in listed:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [f"{key.strip()}={part.strip()}" for part in parts]
