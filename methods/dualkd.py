"""Dual-teacher knowledge distillation (Jeong, Kim, Kim, Min, IEEE TIP 33, 2024).

Self-training read as distillation from two teachers: an EMA teacher makes the pseudo-labels, and a
frozen teacher of any architecture and size, trained on the source, teaches features. The abstract
fixes that much; the loss, its layers and its weight are our reading, each a knob of its own, set by
an ablation on generated data (results/tables/edition1/dualkd_ablation.md).

Beyond the paper, the frozen teacher may keep the target's norm statistics
(`teacher_training=adabn`), or be a foundation encoder that never learned on the source (`none`).
The nearest published method to that is VFM-UDA++ (2025), whose distance, projector, teacher's input
size, images and weight are choices here (benchmarks/suites/foundation_teacher.toml); none of them
is a default.

    L = CE(source) + CE(mixed; pseudo-labels) + lambda_kd * D(P(student's maps), frozen maps)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from methods.contract import ADDED_LATER, Batch, Segmentation, Segmentor, TeacherSpec
from methods.daformer import DAFormer, Mixed
from methods.parts.distillation import (
    Distance,
    Projection,
    Projections,
    Stage,
    distill,
    stage_channels,
    stage_maps,
)
from methods.parts.ema import Frozen, without_head
from methods.parts.feature_distance import class_mask as thing_mask
from methods.parts.losses import upsample


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
        teacher_training: Literal["source", "adabn", "none"] = Field(
            "source",
            description="of the frozen network; adabn: the same, its norms with the target's "
            "statistics; none: an encoder as published",
            json_schema_extra=ADDED_LATER,
        )
        teacher_size: int | None = Field(
            None,
            ge=1,
            le=2**15,
            description="the teacher sees images resized to this shorter side; none: as they are",
            json_schema_extra=ADDED_LATER,
        )
        stages: tuple[Stage, ...] = Field(
            ("fused",), description="maps that are taught: 1-4, fused"
        )
        projection: Projection = Field(
            "auto",
            description="student to teacher width: identity where equal, always 1x1 conv, or mlp",
        )
        projection_lr_factor: float = Field(1.0, gt=0, description="projections' rate / encoder's")
        normalise: bool = Field(True, description="unit L2 norm over channels before the distance")
        distance: Distance = Field("cosine", description="of two pixels")
        images: tuple[Literal["source", "target", "mixed"], ...] = Field(
            ("target",), description="on which the features are taught"
        )
        warm_target: bool = Field(
            False, description="also on the plain target image until mixing starts"
        )
        pixel_mask: Literal["none", "things"] = Field("none", description="pixels that are taught")
        lambda_kd: float = Field(10.0, ge=0, description="weight of the distillation")
        kd_warmup: float = Field(0.0, ge=0, description="share of the schedule that ramps it up")
        lambda_fd: float = Field(
            0.0,
            ge=0,
            description="of the ImageNet feature distance: the teacher takes its place",
        )

    config: Config

    @classmethod
    def frozen_teachers(cls, config: Any, student: str) -> list[TeacherSpec]:
        from methods.networks.zoo import one_size_up

        network = config.teacher or one_size_up(student)
        trained = config.teacher_training != "none"
        method = "adabn" if config.teacher_training == "adabn" else "source_only"
        if not trained and config.teacher_checkpoint:
            raise ValueError(
                "teacher_training=none takes an encoder alone: its weights by --teacher-init, not "
                "--teacher-checkpoint"
            )
        if method == "adabn" and config.teacher_checkpoint:
            raise ValueError(
                "teacher_training=adabn is of a teacher that is trained before; expected no "
                "--teacher-checkpoint, or one of a run of adabn and no teacher_training"
            )
        if not trained and "fused" in config.stages:
            raise ValueError(
                "with teacher_training=none the frozen teacher has no head that learned; expected "
                "stages of encoders, such as --set stages=4, not fused"
            )
        return [TeacherSpec(network, config.teacher_checkpoint, trained, method)]

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        (teacher,) = frozen_teachers
        untrained = self.config.teacher_training == "none"
        self.frozen = Frozen(without_head(teacher) if untrained else teacher)
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
        if self.config.teacher_size:
            share = self.config.teacher_size / min(image.shape[-2:])
            image = upsample(image, tuple(round(side * share) for side in image.shape[-2:]))
        if "fused" in self.config.stages:
            return stage_maps(self.frozen(image), self.config.stages)
        features = self.frozen.features(image)
        return [features[int(stage) - 1] for stage in self.config.stages]

    def param_groups(self, lr: float, weight_decay: float, head_lr_factor: float) -> list[dict]:
        groups = super().param_groups(lr, weight_decay, head_lr_factor)
        projected = {id(p) for p in self.projections.parameters()}
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) not in projected]
        if projected:
            rate = lr * self.config.projection_lr_factor
            parameters = list(self.projections.parameters())
            groups.append({"params": parameters, "lr": rate, "weight_decay": weight_decay})
        return groups
