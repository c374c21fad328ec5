"""What of a run follows its training, in seconds: about so long, from the pace of a step. Pure."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from harness.config.planning import Plan

#: Forward and backward pass of an image, in forward passes.
TRAINED = 3
#: Seconds of a process that times inference: it imports torch, and times for three.
TIMING = 10.0


def afterwards(plan: Plan, networks: int, steps_after: int) -> Callable[[float], float]:
    """Seconds that follow a training of the plan, as a function of the seconds of its steps.

    `networks` are scored, their speed is timed, and `steps_after` steps of another training, that
    of the student where this is its teacher's, come then, with scores and timing of their own. A
    step is taken for `TRAINED` forward passes of each of its crops, and the other training's steps
    for this one's: what is measured later replaces it.
    """
    profile, spec = plan.spec.profile, plan.spec
    crops = profile.batch_size * profile.accumulation * (2 if spec.uses_target else 1)
    views = len(profile.tta_scales) * (2 if profile.tta_flip else 1)
    pixels = prod(profile.image_size[spec.target.dataset]) / prod(profile.crop)
    forwards = spec.target.val_images * networks * views * pixels
    trainings = 2 if steps_after else 1

    def seconds(step: float) -> float:
        scoring = step * forwards / (crops * TRAINED)
        return trainings * (scoring + TIMING) + steps_after * step

    return seconds
