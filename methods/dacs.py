"""DACS: self-training on mixed images alone (Tranheden, Olsson, Pinto, Svensson, WACV 2021).

The loop that DAFormer built on, by its own settings. What they do not reach is the profile's, one
for every row of a table: the paper has no warm-up and samples the source uniformly, `--set
warmup=0 --set rare_class_sampling=false`. A profile that sets `ema_alpha`, `lambda_fd` and the
ignored rows for all methods leaves the draw of classes as the one difference from DAFormer.
"""

from __future__ import annotations

from pydantic import Field

from methods.daformer import DAFormer


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

    config: Config
