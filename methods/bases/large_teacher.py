"""Large networks that adapt beside the student and label the target for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from pydantic import Field
from torch import Tensor, nn

from methods.contract import Batch, CompanionSpec, Segmentor
from methods.daformer import DAFormer
from methods.networks.ensemble import Ensemble
from methods.parts.ema import EMATeacher, Frozen, without_head
from methods.parts.pseudo_labels import PseudoLabel


class LargeTeacher(DAFormer):
    """DAFormer's self-training of large students and a small one, all on one teacher's labels.

    The EMA teacher follows the large students; the small one is evaluated and deployed. Each
    network learns from mixed images of its own draw.
    """

    class Config(DAFormer.Config):
        teacher: str | None = Field(None, description="large network; none: one size up")
        teacher_checkpoint: str | None = Field(
            None, description="weights that its encoder starts from; none: as the student's"
        )

    config: Config

    @classmethod
    def companions(cls, config: Any, student: str) -> list[CompanionSpec]:
        from methods.networks.zoo import one_size_up

        return [CompanionSpec(config.teacher or one_size_up(student), config.teacher_checkpoint)]

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        self.large = Ensemble(companions) if len(companions) > 1 else companions[0]
        self.ema = EMATeacher(self.large, self.config.ema_alpha)
        self.large_imagenet = nn.ModuleList(
            Frozen(without_head(network)) for network in companions if self.config.lambda_fd
        )

    @property
    def large_networks(self) -> list[Segmentor]:
        """Each of the large students."""
        networks = self.large.networks if isinstance(self.large, Ensemble) else [self.large]
        return cast("list[Segmentor]", [*networks])

    def large_learns(self, step: int) -> bool:
        """Whether the large students, and the EMA teacher with them, still move."""
        return True

    def update_teacher(self, step: int) -> None:
        if self.large_learns(step):
            self.follow(self.large, step)

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        yield from super().losses(batch, step)
        if self.large_learns(step):
            for index in range(len(self.large_networks)):
                yield self.large_source_terms(batch, index)

    def pseudo_terms(
        self, batch: Batch, pseudo: PseudoLabel, step: int
    ) -> Iterator[dict[str, Tensor]]:
        yield from super().pseudo_terms(batch, pseudo, step)
        if self.large_learns(step):
            for index in range(len(self.large_networks)):
                yield self.large_mixed_terms(batch, pseudo, index)

    def large_source_terms(self, batch: Batch, index: int) -> dict[str, Tensor]:
        output = self.large_networks[index](batch.source_image)
        name = f"large{index + 1}"
        terms = {f"{name}_source": self.segmentation_loss(output, batch.source_label)}
        if self.large_imagenet:
            imagenet = cast("Frozen", self.large_imagenet[index])
            terms[f"{name}_feature_distance"] = self.imagenet_distance(imagenet, batch, output)
        return terms

    def large_mixed_terms(self, batch: Batch, pseudo: PseudoLabel, index: int) -> dict[str, Tensor]:
        mixed = self.mix(batch, pseudo)
        output = self.large_networks[index](mixed.image)
        loss = self.segmentation_loss(output, mixed.label, mixed.weight)
        return {f"large{index + 1}_mixed": loss}
