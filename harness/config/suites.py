"""The runs that a suite asks for."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from harness.config.planning import Request, find_method, resolve
from harness.config.schema import Suite


def requests(suite: Suite) -> list[Request]:
    """Every run of the suite's product; a method runs the variants whose knobs it has."""
    knobs = {method: find_method(method).Config.model_fields for method in suite.methods}
    asked = []
    for scenario, seed, method, variant in product(
        suite.scenarios, suite.seeds, suite.methods, suite.variants
    ):
        foreign = set().union(*knobs.values()) - knobs[method].keys()
        if any(_key(override) in foreign for override in variant):
            continue
        common = [override for override in suite.overrides if _key(override) not in foreign]
        has_teacher = "teacher" in knobs[method]
        students: list[str | None] = [*suite.students] or [None]
        teachers: list[str | None] = [*suite.teachers] if has_teacher else []
        asked += [
            Request(
                method=method,
                scenario=scenario,
                profile=suite.profile,
                student=student,
                teacher=teacher,
                init=suite.init,
                teacher_init=suite.teacher_init if has_teacher else None,
                seed=seed,
                overrides=(*common, *variant),
            )
            for student, teacher in product(students, teachers or [None])
        ]
    return asked


def run_ids(suite: Suite, data_root: Path | None = None) -> set[str]:
    """The runs that a suite asks for, its frozen teachers' own left out."""
    return {resolve(request, data_root).spec.run_id for request in requests(suite)}


def _key(override: str) -> str:
    return override.partition("=")[0].strip()
