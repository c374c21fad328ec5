"""AdaBN: the target's batch normalisation statistics in the source's place (Li and others, 2016).

The weights are source-only's, bit for bit: in training a norm takes the statistics of its batch,
whatever it keeps for later. Only what it keeps is of the target, and kept as an EMA teacher's norms
keep it. Methods that let a network see target images are compared with one that does no more.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from methods.contract import Batch
from methods.networks.modes import evaluating_but_norms, norms_in_training, statistics_at_rest
from methods.source_only import SourceOnly


class AdaBN(SourceOnly):
    """Source-only, whose batch norms end with running statistics of target images."""

    title = "Source-only with the target's normalisation statistics"
    paper = "Revisiting Batch Normalization For Practical Domain Adaptation, arXiv 2016"
    uses_target = True

    class Config(SourceOnly.Config):
        statistics_steps: int = Field(
            100, ge=1, description="last steps, whose target images the statistics are taken of"
        )

    config: Config

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        if step < self.iterations - self.config.statistics_steps:
            yield from super().losses(batch, step)
            return
        with statistics_at_rest(norms_in_training(self.student)):
            groups = [*super().losses(batch, step)]
        yield from groups
        with evaluating_but_norms(self.student), torch.no_grad():
            self.student(batch.target_image)
