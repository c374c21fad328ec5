"""Dual-teacher knowledge distillation (Jeong, Kim, Kim, Min, IEEE TIP 33, 2024).

Self-training read as distillation from two teachers: an EMA teacher makes the pseudo-labels, and a
frozen teacher of any architecture and size, trained on the source, teaches features. The abstract
fixes that much; the loss, its layers and its weight are our reading, each a knob of its own, set by
an ablation on generated data (results/tables/dualkd_ablation.md).

    L = CE(source) + CE(mixed; pseudo-labels) + lambda_kd * D(P(student's maps), frozen maps)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.contract import Batch, Segmentation, Segmentor, TeacherSpec
from methods.daformer import DAFormer, Mixed
from methods.parts.distillation import Projections, Stage, distill, stage_channels, stage_maps
from methods.parts.ema import Frozen
from methods.parts.feature_distance import class_mask as thing_mask


class DualKD(DAFormer):
    """DAFormer's self-training with a frozen source-trained teacher of features."""

    title = "Dual-teacher knowledge distillation (our reading)"
    paper = (
        "Revisiting Domain-Adaptive Semantic Segmentation via Knowledge Distillation, "
        "IEEE TIP 2024, doi 10.1109/TIP.2024.3501076"
    )

    class Config(DAFormer.Config):
        teacher: str | None = Field(None, description="frozen network; none: one size up")
        teacher_checkpoint: str | None = Field(None, description="its weights; none: trained first")
        stages: tuple[Stage, ...] = Field(
            ("fused",), description="maps that are taught: 1-4, fused"
        )
        projection: Literal["auto", "conv"] = Field(
            "auto", description="student to teacher width: identity where equal, or always 1x1 conv"
        )
        projection_lr_factor: float = Field(1.0, gt=0, description="projections' rate / encoder's")
        normalise: bool = Field(True, description="unit L2 norm over channels before the distance")
        distance: Literal["l2", "mse", "cosine", "kl"] = Field(
            "cosine", description="of two pixels"
        )
        images: tuple[Literal["source", "target", "mixed"], ...] = Field(
            ("target",), description="on which the features are taught"
        )
        warm_target: bool = Field(
            False, description="also on the plain target image until mixing starts"
        )
        pixel_mask: Literal["none", "things"] = Field("none", description="pixels that are taught")
        lambda_kd: float = Field(10.0, ge=0, description="weight of the distillation")
        kd_warmup: float = Field(0.0, ge=0, description="share of the schedule that ramps it up")
        lambda_fd: float = Field(0.0, ge=0, description="the frozen teacher takes its place")

    config: Config

    @classmethod
    def frozen_teachers(cls, config: Any, student: str) -> list[TeacherSpec]:
        from methods.networks.zoo import one_size_up

        return [TeacherSpec(config.teacher or one_size_up(student), config.teacher_checkpoint)]

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        (teacher,) = frozen_teachers
        self.frozen = Frozen(teacher)
        self.projections = Projections(
            stage_channels(self.student, self.config.stages),
            stage_channels(teacher, self.config.stages),
            self.config.projection,
        )

    def source_terms(self, batch: Batch, source: Segmentation, step: int) -> dict[str, Tensor]:
        terms = super().source_terms(batch, source, step)
        if "source" in self.config.images:
            terms["kd_source"] = self.distillation(
                batch.source_image, source, batch.source_label, step
            )
        return terms

    def target_terms(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        warm = self.config.warm_target and not self.mixes(step)
        if warm or "target" in self.config.images:
            image = batch.target_image
            if self.config.pixel_mask == "none":
                output, label = self.look(image), None
            else:
                output = self.segment(image)
                label = output.logits.argmax(1)
            yield {"kd_target": self.distillation(image, output, label, step)}

    def mixed_terms(self, mixed: Mixed, output: Segmentation, step: int) -> dict[str, Tensor]:
        if "mixed" not in self.config.images:
            return {}
        return {"kd_mixed": self.distillation(mixed.image, output, mixed.label, step)}

    def distillation(
        self, image: Tensor, output: Segmentation, label: Tensor | None, step: int
    ) -> Tensor:
        """Weighted distance of the student's maps to the frozen teacher's, mean over stages.

        `label` (B, H, W) is asked for where `pixel_mask` is not `none`.
        """
        cfg = self.config
        taught = self.projections(stage_maps(output, cfg.stages))
        frozen = self.frozen_maps(image)
        mask = None
        if cfg.pixel_mask == "things":
            assert label is not None
            mask = thing_mask(label, self.things)
        distances = [
            distill(s, t, cfg.distance, cfg.normalise, mask)
            for s, t in zip(taught, frozen, strict=True)
        ]
        ramp = min(1.0, (step + 1) / max(cfg.kd_warmup * self.iterations, 1))
        return cfg.lambda_kd * ramp * torch.stack(distances).mean()

    def frozen_maps(self, image: Tensor) -> list[Tensor]:
        """The frozen teacher's maps, without its head where none of them is the head's."""
        if "fused" in self.config.stages:
            return stage_maps(self.frozen(image), self.config.stages)
        features = self.frozen.features(image)
        return [features[int(stage) - 1] for stage in self.config.stages]

    def param_groups(self, lr: float, weight_decay: float, head_lr_factor: float) -> list[dict]:
        groups = super().param_groups(lr, weight_decay, head_lr_factor)
        mine = {id(p) for p in self.projections.parameters()}
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in mine]
        if mine:
            rate = lr * self.config.projection_lr_factor
            parameters = list(self.projections.parameters())
            groups.append({"params": parameters, "lr": rate, "weight_decay": weight_decay})
        return groups
