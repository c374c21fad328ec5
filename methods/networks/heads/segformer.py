"""SegFormer's all-MLP head.

Source: Xie et al., NeurIPS 2021, section 3.2. Parameters are named as in its published checkpoints.
mmsegmentation embeds each stage by a 1x1 convolution without bias, BatchNorm and ReLU instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from methods.networks.conv import (
    ConvBNReLU,
    LinearEmbedding,
    classifier,
    inference_on_cpu,
    norm_relu_,
    pointwise,
    pointwise_of_embedded,
)


class SegFormerHead(nn.Module):
    """Embedding of every stage, upsampled to the finest, concatenated, one 1x1 fusion.

    `embedding` is a linear layer, as the authors' and Hugging Face's, or one with a norm and a
    ReLU, as mmsegmentation's.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 256,
        dropout: float = 0.1,
        embedding: Literal["linear", "conv_bn_relu"] = "linear",
    ) -> None:
        super().__init__()
        self.fused_channels = channels
        self.stages = len(in_channels)
        embed = LinearEmbedding if embedding == "linear" else ConvBNReLU
        for i, width in enumerate(in_channels, start=1):
            self.add_module(f"linear_c{i}", embed(width, channels))
        self.linear_fuse = ConvBNReLU(self.stages * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.linear_pred = classifier(channels, num_classes)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Finest map at stride 4 -> logits (B, C, h, w) and fused (B, channels, h, w) there."""
        fuse = self.linear_fuse
        # The published weights of linear_fuse expect the coarsest stage first.
        embeddings = [self.get_submodule(f"linear_c{i}") for i in range(self.stages, 0, -1)]
        linear = [embed for embed in embeddings if isinstance(embed, LinearEmbedding)]
        coarsest_first = features[::-1]
        if linear and inference_on_cpu(self, features[0]):
            x = pointwise_of_embedded(fuse.conv, linear, coarsest_first, features[0])
        else:
            embedded = [embed(x) for embed, x in zip(embeddings, coarsest_first, strict=True)]
            x = pointwise(fuse.conv, embedded, features[0])
        fused = norm_relu_(fuse.bn, x)
        return self.linear_pred(self.dropout(fused)), fused
