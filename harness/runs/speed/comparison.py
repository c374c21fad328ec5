"""Two measurements of the same cases: what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.runs.speed.cases import SpeedCase
from harness.runs.speed.results import Result, Spread


class Change(NamedTuple):
    """One case in both; ratios above 1 are gains, None where one side was not measured."""

    case: SpeedCase
    old: Result
    new: Result
    step: Spread | None  # old time / new time
    memory: float | None  # old / new
    inference: float | None  # new images per second / old
    evaluation: float | None

    @property
    def clear(self) -> bool:
        """Whether the quartiles of the step's ratio lie on one side of 1."""
        return self.step is not None and (self.step.q1 > 1 or self.step.q3 < 1)


def changes(old: Sequence[Result], new: Sequence[Result], in_turns: bool) -> list[Change]:
    """What became of each case that both measured; `in_turns`: round by round in one session."""
    before = {result.case: result for result in old}
    return [
        _change(before[result.case], result, in_turns) for result in new if result.case in before
    ]


def _change(old: Result, new: Result, in_turns: bool) -> Change:
    step = memory = inference = evaluation = None
    if old.steps and new.steps:
        if in_turns:  # rounds side by side saw the same machine
            pairs = zip(old.steps.round_ms, new.steps.round_ms, strict=True)
            step = Spread.of([a / b for a, b in pairs])
        else:
            a, b = old.steps.step_ms, new.steps.step_ms
            step = Spread(
                median=a.median / b.median, q1=a.q1 / b.q3, q3=a.q3 / b.q1, rounds=b.rounds
            )
    if old.memory and new.memory and old.memory.kind == new.memory.kind and new.memory.mib:
        memory = old.memory.mib / new.memory.mib
    if old.inference and new.inference:
        inference = new.inference.images_per_second / old.inference.images_per_second
    if old.evaluation and new.evaluation:
        speeds = (new.evaluation.images_per_second, old.evaluation.images_per_second)
        evaluation = speeds[0].median / speeds[1].median
    return Change(new.case, old, new, step, memory, inference, evaluation)


def other_machine(old: dict[str, object], new: dict[str, object]) -> str:
    """What two reports' machines differ in, as a sentence; empty where in nothing."""
    parts = [
        f"{name} {old.get(name)} then, {new.get(name)} now"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    return f"another machine: {'; '.join(parts)}; ratios tell little" if parts else ""
