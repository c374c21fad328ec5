"""Style in the frequency domain: low amplitudes carry an image's colours and light."""

from __future__ import annotations

import torch
from torch import Tensor


def swap_low_amplitudes(source: Tensor, target: Tensor, beta: float) -> Tensor:
    """Source images (B, C, H, W) with the low-frequency amplitudes of as many target images.

    Swapped are frequencies of up to b waves a side in both directions, b = floor(beta * shorter
    side) but at least 1: on small images a small beta would do nothing. Phases and all other
    amplitudes stay; beta 0 changes nothing. Values may leave the range of the images. Source: FDA,
    equations 1 to 3 and code.
    """
    if beta == 0:
        return source
    size = source.shape[-2:]
    spectrum = torch.fft.rfft2(source)  # (B, C, H, W // 2 + 1): the other half mirrors it
    style = torch.polar(torch.fft.rfft2(target).abs(), spectrum.angle())
    low = low_square(size, max(1, int(beta * min(size))), source.device)
    return torch.fft.irfft2(torch.where(low, style, spectrum), s=size)


def low_square(
    size: tuple[int, ...], half_width: int, device: torch.device | None = None
) -> Tensor:
    """Where rfft2 of (H, W) holds frequencies up to `half_width`: (H, W // 2 + 1) bool."""
    height, width = size
    rows = torch.arange(height, device=device)
    rows = torch.minimum(rows, height - rows)  # the upper half counts down: -1 comes last
    columns = torch.arange(width // 2 + 1, device=device)
    return (rows[:, None] <= half_width) & (columns <= half_width)
