"""MinEnt: direct entropy minimisation on the target (Vu et al., CVPR 2019).

L = CE(source) + lambda_ent * mean over pixels of the entropy of target predictions, at one level
or at two.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from pydantic import Field
from torch import Tensor

from methods.bases.levels import MultiLevel
from methods.contract import Batch
from methods.parts.entropy import entropy
from methods.parts.losses import upsample


class MinEnt(MultiLevel):
    """Source supervision, and low entropy of the student's predictions on the target."""

    title = "Entropy minimisation"
    paper = (
        "ADVENT: Adversarial Entropy Minimization for Domain Adaptation in Semantic Segmentation, "
        "CVPR 2019"
    )

    class Config(MultiLevel.Config):
        lambda_ent: float = Field(
            0.001, ge=0, description="weight of the target's entropy (authors' code)"
        )
        lambda_ent_auxiliary: float = Field(
            0.0002, ge=0, description="the same at the auxiliary level (authors' code)"
        )

    config: Config

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        yield self.supervised(self.predict(batch.source_image), batch.source_label)
        weight = {"main": self.config.lambda_ent, "auxiliary": self.config.lambda_ent_auxiliary}
        size = tuple(ceil(side / self.config.loss_stride) for side in batch.target_image.shape[-2:])
        yield {
            f"entropy_{level}": weight[level] * entropy(upsample(logits, size))
            for level, logits in self.predict(batch.target_image).items()
        }
