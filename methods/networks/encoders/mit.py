"""Mix Transformer (MiT), the encoder of SegFormer.

Source: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers", NeurIPS 2021, section 3.1 and table 6, written from the paper. Parameters are named
as in the published weights, so that those load without renaming.

Tokens are kept as (B, N, C). Seen as a map (B, C, H, W) that is the channels-last layout, so no
step below copies when it turns one into the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.networks.eager import eager_on_cpu
from methods.networks.recompute import gelu_linear


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, H*W, C) tokens as a (B, C, H, W) channels-last map, without a copy.

    In this order of views the stride of a batch of one is that of any other batch: by another a CPU
    does not know the layout, and a depthwise convolution takes it twelve times as long.
    """
    return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)


def to_tokens(feature_map: Tensor) -> Tensor:
    """(B, C, H, W) map as (B, H*W, C) tokens; no copy for a channels-last map."""
    return feature_map.flatten(2).transpose(1, 2)


class OverlapPatchEmbed(nn.Module):
    """Strided convolution whose windows overlap, then LayerNorm (eps 1e-5, unlike the blocks)."""

    def __init__(self, in_channels: int, dim: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, feature_map: Tensor) -> tuple[Tensor, int, int]:
        feature_map = self.proj(feature_map)
        height, width = feature_map.shape[2:]
        return self.norm(to_tokens(feature_map)), height, width


class EfficientSelfAttention(nn.Module):
    """Self-attention whose keys and values come from a map reduced `sr_ratio` times a side."""

    def __init__(self, dim: int, num_heads: int, sr_ratio: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"embed_dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.sr_ratio = sr_ratio
        if sr_ratio > 1:
            self.sr = nn.Conv2d(dim, dim, sr_ratio, sr_ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        heads = (self.num_heads, x.shape[2] // self.num_heads)
        reduced = x
        if self.sr_ratio > 1:
            reduced = self.norm(self._reduced(x, height, width))
        q = self.q(x).unflatten(2, heads).transpose(1, 2)  # (B, nh, N, d)
        # Split before heads are: of gradients, that is one concatenation without a transposition.
        k, v = (t.unflatten(2, heads).transpose(1, 2) for t in self.kv(reduced).chunk(2, dim=2))
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _reduced(self, x: Tensor, height: int, width: int) -> Tensor:
        """Tokens (B, H*W, C) of windows that do not overlap: (B, H // ratio * W // ratio, C).

        Such a convolution is a product of matrices: forward and backward take a CPU half the time.
        """
        if type(self.sr) is not nn.Conv2d or not eager_on_cpu(x):
            return to_tokens(self.sr(to_map(x, height, width)))
        ratio = self.sr_ratio
        rows, columns = height // ratio, width // ratio
        cells = x.unflatten(1, (height, width))[:, : rows * ratio, : columns * ratio]
        windows = cells.unflatten(2, (columns, ratio)).unflatten(1, (rows, ratio)).transpose(2, 3)
        weight = self.sr.weight.permute(0, 2, 3, 1).flatten(1)  # a view if channels are last
        return F.linear(windows.flatten(3).flatten(1, 2), weight, self.sr.bias)


class DepthwiseConv(nn.Module):
    """The 3x3 depthwise convolution that takes the place of position embeddings."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return to_tokens(self.dwconv(to_map(x, height, width)))


class MixFFN(nn.Module):
    """Linear, depthwise 3x3, exact GELU, linear."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.dwconv = DepthwiseConv(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return gelu_linear(self.dwconv(self.fc1(x), height, width), self.fc2)


class DropPath(nn.Module):
    """Residual branches left out at random: one draw a sample, those kept divided by its odds.

    Not torchvision's StochasticDepth: importing torchvision takes 164 MiB, most of it a compiler.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"drop path probability is {p}, expected 0 <= p < 1")
        self.p = p

    def draws(self, x: Tensor, branches: int) -> Sequence[Tensor | None]:
        """For each branch of x (B, N, C), which samples keep it: (B, 1, 1) of 0 and 1.

        Made together, in one operation. None where all keep all.
        """
        if not self.training or self.p == 0:
            return [None] * branches
        shape = (branches, len(x), 1, 1)
        return torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - self.p).unbind()

    def forward(self, x: Tensor, branch: Tensor, draw: Tensor | None) -> Tensor:
        """x (B, N, C) + what is kept of the branch, of the same shape."""
        if draw is None:
            return x + branch
        return torch.addcmul(x, branch, draw, value=1 / (1 - self.p))


class Block(nn.Module):
    """Pre-norm attention and Mix-FFN, each with a residual and drop-path."""

    def __init__(
        self, dim: int, num_heads: int, sr_ratio: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = EfficientSelfAttention(dim, num_heads, sr_ratio)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MixFFN(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        attended, mixed = self.drop_path.draws(x, 2)
        x = self.drop_path(x, self.attn(self.norm1(x), height, width), attended)
        return self.drop_path(x, self.mlp(self.norm2(x), height, width), mixed)


class MixTransformer(nn.Module):
    """Hierarchical encoder; its stages lie at strides 4, 8, 16 and 32."""

    #: Below 32 pixels a side the first stage is smaller than one window of its key reduction.
    min_size = 32
    #: Its maps have their channels last, whatever the profile says.
    maps_channels_last = True

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        num_heads: Sequence[int],
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if not len(embed_dims) == len(depths) == len(num_heads) == len(sr_ratios):
            raise ValueError("embed_dims, depths, num_heads and sr_ratios differ in length")
        self.channels = list(embed_dims)
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        for i, dim in enumerate(embed_dims):
            width_in = embed_dims[i - 1] if i else in_channels
            embed = OverlapPatchEmbed(width_in, dim, *((3, 2) if i else (7, 4)))
            blocks = [
                Block(dim, num_heads[i], sr_ratios[i], mlp_ratio, next(rates))
                for _ in range(depths[i])
            ]
            self.add_module(f"patch_embed{i + 1}", embed)
            self.add_module(f"block{i + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{i + 1}", nn.LayerNorm(dim, eps=1e-6))
        self.apply(_init_weights)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: (B, 3, H, W) -> one (B, c_i, h_i, w_i) map a stage, finest first."""
        x = image.contiguous(memory_format=torch.channels_last)
        features = []
        for stage in range(1, len(self.channels) + 1):
            tokens, height, width = self.get_submodule(f"patch_embed{stage}")(x)
            for block in self.get_submodule(f"block{stage}").children():
                tokens = block(tokens, height, width)
            x = to_map(self.get_submodule(f"norm{stage}")(tokens), height, width)
            features.append(x)
        return features


def _init_weights(module: nn.Module) -> None:
    """Truncated normal for linear layers, He's normal (fan out) for convolutions, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.weight.shape[0] * module.weight[0, 0].numel() // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_DEPTHS = {
    "b0": (2, 2, 2, 2),
    "b1": (2, 2, 2, 2),
    "b2": (3, 4, 6, 3),
    "b3": (3, 4, 18, 3),
    "b4": (3, 8, 27, 3),
    "b5": (3, 6, 40, 3),
}


def mit(size: str, drop_path_rate: float = 0.1) -> MixTransformer:
    """MiT-B0..B5 of the paper; `size` is "b0" .. "b5"."""
    dims = (32, 64, 160, 256) if size == "b0" else (64, 128, 320, 512)
    return MixTransformer(dims, _DEPTHS[size], (1, 2, 5, 8), drop_path_rate=drop_path_rate)
