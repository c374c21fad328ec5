"""Prediction at one or two levels: the head, and in training a classifier one stage before."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from methods.contract import Method, Segmentor
from methods.networks.heads.dlv2 import DLV2Head
from methods.parts.losses import cross_entropy


class MultiLevel(Method):
    """Base of AdaptSegNet's family; the auxiliary classifier is never deployed.

    It is DeepLab-V2's, on the encoder's last stage but one, for any student.
    """

    class Config(Method.Config):
        levels: int = Field(
            1,
            ge=1,
            le=2,
            description="2 (papers): also on a classifier one encoder stage before the last",
        )
        lambda_seg: float = Field(
            0.1, ge=0, description="weight of that classifier's cross-entropy (AdaptSegNet)"
        )

    config: Config

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        # Its name has `head` in it: it learns as fast as the head does.
        channels = self.student.feature_channels[:-1]
        self.auxiliary_head = (
            DLV2Head(channels, self.student.num_classes) if self.config.levels == 2 else None
        )

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """Logits (B, C, h, w) of each level, at their own strides."""
        output = self.student(image)
        if self.auxiliary_head is None:
            return {"main": output.logits}
        return {"main": output.logits, "auxiliary": self.auxiliary_head(output.features[:-1])[0]}

    def supervised(self, source: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of each level's logits with the labels (B, H, W)."""
        stride = self.config.loss_stride
        terms = {"source": cross_entropy(source["main"], label, stride=stride)}
        if "auxiliary" in source:
            auxiliary = cross_entropy(source["auxiliary"], label, stride=stride)
            terms["source_auxiliary"] = self.config.lambda_seg * auxiliary
        return terms
