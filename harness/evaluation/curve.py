"""The networks of a training, scored every so many of its steps."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.config.schema import Profile, Scenario
from harness.data.datasets import Dataset
from harness.data.loader import normalise
from harness.data.store import StoredPixels
from harness.evaluation import validators
from harness.evaluation.inference import Views, class_scores
from harness.evaluation.metrics import confusion
from harness.evaluation.most_likely import most_likely
from harness.evaluation.scoring import score
from harness.records.schema import (
    Curve,
    CurvePoint,
    LabelFree,
    LabelFreeScores,
    NetworkScores,
)
from harness.training.checkpoints import Meter
from harness.training.precision import autocast
from methods.contract import Method, Segmentor
from methods.networks.modes import evaluating

#: Target training images that are scored without labels, the same ones of every run.
IMAGES = 64


class CurveMeter:
    """Scores student and EMA teacher every `score_every` steps and after the last.

    Without labels on a sample of the target's training images, as a user without labels would, and
    with labels on the scored images, where there are some, which says what that was worth. Training
    goes on as if it had not been looked at: random streams and modes are put back, and no other
    meter counts.
    """

    def __init__(
        self,
        target: Dataset,
        scored: Dataset | None,
        scenario: Scenario,
        profile: Profile,
        device: torch.device,
    ) -> None:
        self.target, self.scored, self.device = target, scored, device
        self.scenario, self.profile = scenario, profile.model_copy(update={"metrics": ()})
        self.images = sample(len(target))
        self.seconds = 0.0
        self.points: list[CurvePoint] = []

    def due(self, done: int) -> bool:
        """Whether to score the networks now that so many steps are done."""
        return done % self.profile.score_every == 0 or done == self.profile.iterations

    def score(self, method: Method, done: int, meters: Mapping[str, Meter]) -> None:
        """Add the point of so many steps."""
        start = time.perf_counter()
        with ExitStack() as untouched:
            for meter in meters.values():
                untouched.enter_context(meter.paused())
            devices = [self.device] if self.device.type == "cuda" else []
            untouched.enter_context(torch.random.fork_rng(devices))
            self.points.append(self._point(method, done))
        self.seconds += time.perf_counter() - start

    @property
    def curve(self) -> Curve:
        """All of it, with what each rule chooses."""
        rules = {rule: validators.chosen(self.points, rule, "student") for rule in validators.RULES}
        return Curve(
            images=len(self.images),
            seconds=self.seconds,
            points=self.points,
            chosen={rule: point.step for rule, point in rules.items() if point},
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield

    def of_all(self, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Every process has scored the same images of the same networks: the first one's."""
        return states[0]

    def state_dict(self) -> dict[str, Any]:
        """The points so far, as JSON."""
        points = [point.model_dump(mode="json") for point in self.points]
        return {"seconds": self.seconds, "points": points}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the points of an interrupted try."""
        self.seconds = state["seconds"]
        self.points = [CurvePoint.model_validate(point) for point in state["points"]]

    def _point(self, method: Method, done: int) -> CurvePoint:
        student, ema_teacher = method.student, method.ema_teacher
        networks = [student, *([ema_teacher] if ema_teacher is not None else [])]
        figures = self.label_free(networks)
        label_free = filter(None, (figures.student, figures.ema_teacher))
        scored = [
            NetworkScores(miou=self._miou(network), **values.model_dump())
            for network, values in zip(networks, label_free, strict=True)
        ]
        return CurvePoint(
            step=done,
            student=scored[0],
            ema_teacher=scored[1] if len(scored) > 1 else None,
            agreement=figures.agreement,
        )

    def _miou(self, network: Segmentor) -> float:
        if self.scored is None:
            return math.nan
        return score(network, self.scored, self.scenario, self.profile, self.device).miou

    @torch.no_grad()
    def label_free(self, networks: Sequence[Segmentor]) -> LabelFree:
        """The scores without labels of a student, or of a student and its EMA teacher."""
        cast = partial(autocast, self.device, self.profile.precision)
        views = Views(slide=self.profile.slide)  # one: neither mirrored nor scaled ones
        collected = [validators.LabelFreeSums() for _ in networks]
        matrix = torch.zeros(0)
        with ExitStack() as modes:
            for network in networks:
                modes.enter_context(evaluating(network))
            for image in self._images():
                size = tuple(image.shape[-2:])
                logits = [class_scores(n, [image], size, views, cast) for n in networks]
                for scores, of_network in zip(logits, collected, strict=True):
                    of_network.add(scores.softmax(1))
                if len(logits) > 1:
                    one, other = map(most_likely, logits)
                    counts = confusion(one, other, logits[0].shape[1])
                    matrix = counts if not len(matrix) else matrix + counts
        agreement = validators.agreement(matrix.cpu().numpy()) if len(matrix) else None
        student, *ema_teacher = [LabelFreeScores(**scores.values()) for scores in collected]
        return LabelFree(
            images=len(self.images),
            student=student,
            ema_teacher=ema_teacher[0] if ema_teacher else None,
            agreement=agreement,
        )

    def _images(self) -> Iterator[Tensor]:
        """The sampled images, whole: (1, 3, H, W), normalised, on the device."""
        name = self.target.name
        pixels = StoredPixels(
            self.target, self.profile.image_size[name], self.profile.data_store, ("image",)
        )
        for index in self.images:
            image = torch.from_numpy(pixels.read_image(index).copy()).permute(2, 0, 1)
            yield normalise(image[None].to(self.device))


def sample(length: int) -> list[int]:
    """Which of a set's images are scored without labels: IMAGES at most, in their order."""
    return sorted(random.Random(0).sample(range(length), min(IMAGES, length)))
