"""The runs that a suite asks for."""

from __future__ import annotations

from itertools import chain, product
from pathlib import Path

from harness.config.planning import Request, find_method, resolve
from harness.config.schema import Suite
from harness.errors import BenchError


def requests(suite: Suite) -> list[Request]:
    """Every run of the suite's product; a method runs the variants whose knobs it has.

    Seed after seed, so that a sweep that ends early has compared all methods on the first seeds.
    """
    _check_methods(suite)
    knobs = {method: find_method(method).Config.model_fields for method in suite.methods}
    asked = []
    every_seed = dict.fromkeys([*suite.seeds, *chain(*suite.more_seeds.values())])
    for seed, scenario, method, variant in product(
        every_seed, suite.scenarios, suite.methods, suite.variants
    ):
        if seed not in [*suite.seeds, *suite.more_seeds.get(method, ())]:
            continue
        foreign = set().union(*knobs.values()) - knobs[method].keys()
        if any(_key(override) in foreign for override in variant):
            continue
        common = [override for override in suite.overrides if _key(override) not in foreign]
        has_teacher = "teacher" in knobs[method]
        students: list[str | None] = [*suite.students] or [None]
        teachers: list[str | None] = [*suite.teachers] if has_teacher else []
        lengths = suite.lengths.get(method, [1])
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
                overrides=(*common, *variant, *([f"length={length}"] if length > 1 else ())),
            )
            for student, teacher, length in product(students, teachers or [None], lengths)
        ]
    return asked


def run_ids(suite: Suite, data_root: Path | None = None) -> set[str]:
    """The runs that a suite asks for, its frozen teachers' own left out."""
    return {resolve(request, data_root).spec.run_id for request in requests(suite)}


def _check_methods(suite: Suite) -> None:
    """BenchError for a length or a seed of a method that the suite does not run."""
    for table in ("lengths", "more_seeds"):
        strange = sorted(getattr(suite, table).keys() - set(suite.methods))
        if strange:
            raise BenchError(
                f"suite {suite.name}, [{table}]: {strange[0]} found, one of its methods expected: "
                f"{', '.join(suite.methods)}."
            )


def _key(override: str) -> str:
    return override.partition("=")[0].strip()
