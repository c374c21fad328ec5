"""Strong augmentation of the mixed image: colour jitter and Gaussian blur, as DAFormer does them.

The jitter follows kornia 0.5.8: additive brightness, contrast without a mean, saturation and hue in
HSV, in a random order. Parameters are drawn on the CPU from the method's generator.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.parts.device import constant
from methods.parts.joined import own_rows, processes

#: ImageNet's statistics in grey levels, RGB.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Jitter(NamedTuple):
    """One image's draw: factors around 1, hue in turns, and the order of the four operations."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...] = (0, 1, 2, 3)


def draw_jitter(generator: torch.Generator, strength: float = 0.2) -> Jitter:
    """Factors uniform in 1 +- strength, hue uniform in +- strength, order uniform."""
    b, c, s, h = (torch.rand(4, generator=generator) * 2 - 1).mul(strength).tolist()
    order = torch.randperm(4, generator=generator).tolist()
    return Jitter(1 + b, 1 + c, 1 + s, h, tuple(order))


def colour_jitter(image: Tensor, jitter: Jitter) -> Tensor:
    """Jitter one RGB image (3, H, W) with values in [0, 1]."""
    for operation in jitter.order:
        if operation == 0:
            image = (image + (jitter.brightness - 1)).clamp(0, 1)
        elif operation == 1:
            image = (image * jitter.contrast).clamp(0, 1)
        else:
            h, s, v = rgb_to_hsv(image)
            if operation == 2:
                s = (s * jitter.saturation).clamp(0, 1)
            else:
                h = torch.remainder(h + jitter.hue, 1.0)
            image = hsv_to_rgb(h, s, v)
    return image


def rgb_to_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB (3, H, W) in [0, 1] -> hue in turns, saturation, value, each (H, W)."""
    value = image.amax(0)  # without indices, which take a CPU several times as long
    chroma = value - image.amin(0)
    saturation = chroma / (value + 1e-6)  # as kornia 0.5.8
    r, g, b = image / chroma.masked_fill(grey := chroma == 0, 1)
    is_red, is_green = image[:2] == value
    hue = torch.where(is_red, g - b, torch.where(is_green, 2 + b - r, 4 + r - g))
    return torch.remainder(hue / 6, 1.0).masked_fill_(grey, 0), saturation, value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of rgb_to_hsv -> (3, H, W)."""
    shift = constant((5.0, 3.0, 1.0), hue.device)[:, None, None]
    k = torch.remainder(shift + hue * 6, 6)
    return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (C, H, W), border reflected, with the reference's kernel: a tenth of the side, odd.

    Beyond a radius of 7 the weights of the largest sigma, 1.15, are below 1e-8: cut there.
    """
    ry, rx = (min(7, (math.ceil(side / 10) - 1) // 2) for side in image.shape[-2:])
    channels = len(image)
    kx = gaussian(sigma, rx, image.device).to(image).expand(channels, 1, -1)
    ky = kx if ry == rx else gaussian(sigma, ry, image.device).to(image).expand(channels, 1, -1)
    blurred = F.pad(image[None], (rx, rx, ry, ry), mode="reflect")
    # Depthwise: with the channels as a batch of single ones it takes five times as long on a CPU.
    blurred = F.conv2d(blurred, kx[:, :, None], groups=channels)
    return F.conv2d(blurred, ky[..., None], groups=channels)[0]


def gaussian(sigma: float, radius: int, device: torch.device) -> Tensor:
    """Weights (2 * radius + 1,) that sum to 1."""
    x = torch.arange(-radius, radius + 1, device=device)
    return torch.softmax(x**2 * (-0.5 / sigma**2), 0)


def denormalise(image: Tensor) -> Tensor:
    """ImageNet-normalised (..., 3, H, W) -> RGB in [0, 1]."""
    mean, std = _statistics(image)
    return (image * std + mean).clamp(0, 1)


def renormalise(image: Tensor) -> Tensor:
    """The inverse of denormalise."""
    mean, std = _statistics(image)
    return (image - mean) / std


def _statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    both = constant(tuple(value / 255 for value in (*MEAN, *STD)), image.device)
    return both[:3, None, None], both[3:, None, None]


def strong_augment(
    images: Tensor,
    generator: torch.Generator,
    jitter_probability: float = 0.8,
    blur_probability: float = 0.5,
    strength: float = 0.2,
) -> Tensor:
    """Augment normalised images (B, 3, H, W).

    Whether to jitter and to blur is drawn once for the joined batch, the parameters once an image:
    jitter on the de-normalised image in [0, 1], sigma uniform in 0.15..1.15 (DACS).
    """
    jitter, blur = (torch.rand(2, generator=generator) < torch.tensor(
        [jitter_probability, blur_probability])).tolist()  # fmt: skip
    draws = [
        (
            draw_jitter(generator, strength) if jitter else None,
            0.15 + torch.rand((), generator=generator).item() if blur else None,
        )
        for _ in range(len(images) * processes())
    ]
    augmented = []
    for image, (jitter_drawn, sigma) in zip(images, own_rows(draws), strict=True):
        if jitter_drawn:
            image = renormalise(colour_jitter(denormalise(image), jitter_drawn))
        if sigma:
            image = gaussian_blur(image, sigma)
        augmented.append(image)
    return torch.stack(augmented)
