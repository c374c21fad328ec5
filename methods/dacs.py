"""DACS: self-training on mixed images alone (Tranheden, Olsson, Pinto, Svensson, WACV 2021).

The loop that DAFormer built on, by its own settings. What they do not reach is the profile's, one
for every row of a table: the paper has no warm-up and samples the source uniformly, `--set
warmup=0 --set rare_class_sampling=false`. A profile that sets `ema_alpha`, `lambda_fd` and the
ignored rows for all methods leaves the draw of classes as the one difference from DAFormer.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from methods.contract import ADDED_LATER, IGNORE, Segmentation
from methods.daformer import DAFormer
from methods.parts.joined import processes, total


class DACS(DAFormer):
    """DAFormer's loop: a faster EMA teacher, no feature distance, no ignored rows."""

    title = "Domain adaptation via cross-domain mixed sampling"
    paper = "DACS: Domain Adaptation via Cross-Domain Mixed Sampling, WACV 2021"

    class Config(DAFormer.Config):
        ema_alpha: float = Field(
            0.99, ge=0, le=1, description="momentum of the EMA teacher (authors' code)"
        )
        ignore_top: int = Field(0, ge=0, description="rows of a target crop with weight 0")
        ignore_bottom: int = Field(0, ge=0, description="the same at the bottom")
        mix_whole_batch: bool = Field(
            False, description="ClassMix draws from each image's own classes (authors' code)"
        )
        lambda_fd: float = Field(0.0, ge=0, description="no feature distance")
        source_mean_over_valid: bool = Field(
            False,
            description="the source loss is a mean over labelled pixels alone (authors' code)",
            json_schema_extra=ADDED_LATER,
        )

    config: Config

    def source_loss(self, output: Segmentation, label: Tensor) -> Tensor:
        """A mean over all pixels, as DAFormer's; or over those that are not ignored, 0 if none."""
        loss = super().source_loss(output, label)
        if not self.config.source_mean_over_valid:
            return loss
        stride = self.config.loss_stride
        valid = label[:, ::stride, ::stride] != IGNORE
        return loss * valid.numel() / (total(valid.sum()).clamp(min=1) / processes())
