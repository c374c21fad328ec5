"""DAFormer self-training (Hoyer, Dai, Van Gool, CVPR 2022).

An EMA teacher labels the target, ClassMix pastes source classes on it, and on source images the
features of things stay near those of the ImageNet encoder that the student started from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from methods.contract import Batch, Method, Segmentation, Segmentor
from methods.parts.augment import strong_augment
from methods.parts.class_mix import class_mask, draw_classes, paste, values_present
from methods.parts.ema import EMATeacher, Frozen, without_head
from methods.parts.feature_distance import class_mask as thing_mask
from methods.parts.feature_distance import feature_distance, label_cells
from methods.parts.losses import cross_entropy
from methods.parts.pseudo_labels import PseudoLabel, pseudo_labels


class Mixed(NamedTuple):
    """Source classes pasted on target images, strongly augmented."""

    image: Tensor  # (B, 3, H, W)
    label: Tensor  # (B, H, W): the source's labels and the teacher's pseudo-labels
    weight: Tensor  # (B, H, W): 1 on source pixels, the pseudo-label's weight elsewhere


class DAFormer(Method):
    """Self-training: L = CE(source) + CE(mixed, pseudo-labels) + lambda_fd * FD(source)."""

    title = "DAFormer self-training"
    paper = "DAFormer: Improving Network Architectures and Training Strategies for DASS, CVPR 2022"

    class Config(Method.Config):
        ema_alpha: float = Field(0.999, ge=0, le=1, description="momentum of the EMA teacher")
        pseudo_threshold: float = Field(
            0.968, ge=0, le=1, description="probability that counts as confident"
        )
        ignore_top: int = Field(15, ge=0, description="rows of a target crop with weight 0")
        ignore_bottom: int = Field(120, ge=0, description="the same at the bottom: the ego car")
        mix_start: float = Field(
            0.0, ge=0, le=1, description="share of the schedule on source alone, before mixing"
        )
        mix_whole_batch: bool = Field(True, description="ClassMix draws from the batch's classes")
        mix_ignore: bool = Field(True, description="ClassMix may draw the ignore label, 255")
        jitter_probability: float = Field(
            0.8, ge=0, le=1, description="of colour jitter on mixed images"
        )
        jitter_strength: float = Field(
            0.2, ge=0, le=0.5, description="of brightness, contrast, saturation, hue"
        )
        blur_probability: float = Field(
            0.5, ge=0, le=1, description="of Gaussian blur on mixed images"
        )
        lambda_fd: float = Field(0.005, ge=0, description="weight of the ImageNet feature distance")
        fd_min_ratio: float = Field(
            0.75, ge=0, le=1, description="share of a cell that its class must hold"
        )

    config: Config

    def setup(self, frozen_teachers: Sequence[Segmentor], companions: Sequence[Segmentor]) -> None:
        super().setup(frozen_teachers, companions)
        self.ema = EMATeacher(self.student, self.config.ema_alpha)
        self.imagenet = Frozen(without_head(self.student)) if self.config.lambda_fd else None
        self._seen: tuple[Tensor, Tensor] | None = None
        self._present: tuple[Tensor, Tensor] | None = None

    @property
    def ema_teacher(self) -> Segmentor:
        return self.ema.network

    def losses(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        self._seen = self._present = None
        self.update_teacher(step)
        source = self.segment(batch.source_image)
        yield {
            "source": self.source_loss(source, batch.source_label),
            **self.source_terms(batch, source, step),
        }
        del source  # its graph is gone: so should its maps be
        yield from self.target_terms(batch, step)
        if not self.mixes(step):
            self._seen = None
            return
        pseudo = self.label_target(batch)
        self._seen = None  # nobody needs the teacher's logits any more
        mixed = self.mix(batch, pseudo)
        output = self.segment(mixed.image)
        yield {
            "mixed": self.segmentation_loss(output, mixed.label, mixed.weight),
            **self.mixed_terms(mixed, output, step),
            "log/pseudo_weight": mixed.weight.mean(),
        }
        del mixed, output
        yield from self.pseudo_terms(batch, pseudo, step)
        self._present = None

    def update_teacher(self, step: int) -> None:
        """Move the EMA teacher towards the network that it follows: the student."""
        self.follow(self.student, step)

    def follow(self, network: Segmentor, step: int) -> None:
        """Before mixing starts nothing is asked of the EMA teacher: it has the network's norms."""
        self.ema.update(network, step)
        if not self.mixes(step):
            self.ema.take_statistics(network)

    def mixes(self, step: int) -> bool:
        """Whether the source phase is over: before, pseudo-labels are noise."""
        return step >= self.config.mix_start * self.iterations

    def segment(self, image: Tensor) -> Segmentation:
        """The student's forward wherever it learns; a method may choose what it looks at."""
        return self.student(image)

    def look(self, image: Tensor) -> Segmentation:
        """The student's forward where it learns by its maps alone, and nobody asks for logits."""
        return self.segment(image)

    def segmentation_loss(
        self, output: Segmentation, label: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Cross-entropy of one forward with labels and their weights, both (B, H, W)."""
        return cross_entropy(output.logits, label, weight, self.config.loss_stride)

    def source_loss(self, output: Segmentation, label: Tensor) -> Tensor:
        """Loss of a source forward with its labels (B, H, W)."""
        return self.segmentation_loss(output, label)

    def teacher_logits(self, batch: Batch) -> Tensor:
        """The EMA teacher's logits (B, C, h, w) on the target, for every term that uses them.

        One forward a batch, so that the running statistics of its BatchNorm move once.
        """
        if self._seen is None or self._seen[0] is not batch.target_image:
            self._seen = batch.target_image, self.ema(batch.target_image).logits
        return self._seen[1]

    def label_target(self, batch: Batch) -> PseudoLabel:
        """What the EMA teacher sees on the target: once a step, for every term that uses it."""
        cfg = self.config
        return pseudo_labels(
            self.teacher_logits(batch),
            batch.target_image.shape[-2:],
            cfg.pseudo_threshold,
            cfg.ignore_top,
            cfg.ignore_bottom,
        )

    def source_values(self, batch: Batch) -> Tensor:
        """Which label values the source images hold (B, 256): asked once a batch, on the CPU."""
        if self._present is None or self._present[0] is not batch.source_label:
            self._present = batch.source_label, values_present(batch.source_label)
        return self._present[1]

    def mix(self, batch: Batch, pseudo: PseudoLabel) -> Mixed:
        """Paste half of the source's classes on the target, labels along with images."""
        cfg = self.config
        classes = draw_classes(
            self.source_values(batch),
            self.generator,
            whole_batch=cfg.mix_whole_batch,
            ignore=cfg.mix_ignore,
        )
        mask = class_mask(batch.source_label, classes)
        # In full precision: images are data, not activations.
        with torch.autocast(mask.device.type, enabled=False):
            image = strong_augment(
                paste(mask, batch.source_image, batch.target_image),
                self.generator,
                cfg.jitter_probability,
                cfg.blur_probability,
                cfg.jitter_strength,
            )
        label = paste(mask, batch.source_label, pseudo.label)
        weight = paste(mask, torch.ones_like(pseudo.weight), pseudo.weight)
        return Mixed(image, label, weight)

    def source_terms(self, batch: Batch, source: Segmentation, step: int) -> dict[str, Tensor]:
        """Thing-class ImageNet feature distance on the last encoder stage."""
        if self.imagenet is None:
            return {}
        return {"feature_distance": self.imagenet_distance(self.imagenet, batch, source)}

    def imagenet_distance(self, imagenet: Frozen, batch: Batch, source: Segmentation) -> Tensor:
        """Weighted distance of a source forward to what its network saw before training."""
        features = source.features[-1]
        cells = label_cells(
            batch.source_label,
            features.shape[-2:],
            self.student.num_classes,
            self.config.fd_min_ratio,
        )
        things = thing_mask(cells, self.things)
        reference = features.detach()
        # Without things the distance is 0 whatever the reference. A GPU would wait for the answer.
        if things.device.type != "cpu" or things.any():
            reference = imagenet.features(batch.source_image)[-1]
        return self.config.lambda_fd * feature_distance(features, reference, things)

    def target_terms(self, batch: Batch, step: int) -> Iterator[dict[str, Tensor]]:
        """Groups of terms on the plain target image; none here."""
        yield from ()

    def mixed_terms(self, mixed: Mixed, output: Segmentation, step: int) -> dict[str, Tensor]:
        """Further terms on the mixed image's forward; none here."""
        return {}

    def pseudo_terms(
        self, batch: Batch, pseudo: PseudoLabel, step: int
    ) -> Iterator[dict[str, Tensor]]:
        """Groups of further terms against the target's pseudo-labels, after mixing; none here."""
        yield from ()
