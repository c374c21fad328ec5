"""Figures: rows of captioned panels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harness.config.class_set import ClassSet
from harness.data.classes import colourise
from harness.data.transforms import PixelArray

CELL = (384, 192)  # width, height of a panel
GAP, CAPTION = 8, 22


def compose(
    rows: list[list[tuple[str, PixelArray]]], classes: ClassSet | None = None
) -> Image.Image:
    """Lay out rows of captioned panels, above a legend of the classes where there are any."""
    columns = max(map(len, rows))
    step_x, step_y = CELL[0] + GAP, CELL[1] + GAP + CAPTION
    width, height = columns * step_x + GAP, len(rows) * step_y + GAP
    key = legend(classes, width) if classes else None
    sheet = Image.new("RGB", (width, height + (key.height if key else 0)), "white")
    if key:
        sheet.paste(key, (0, height))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for y, row in enumerate(rows):
        for x, (caption, pixels) in enumerate(row):
            corner = (GAP + x * step_x, GAP + y * step_y)
            draw.text(corner, caption, "black", font)
            panel = Image.fromarray(pixels).resize(CELL, Image.Resampling.NEAREST)
            sheet.paste(panel, (corner[0], corner[1] + CAPTION))
    return sheet


def legend(classes: ClassSet, width: int = 640) -> Image.Image:
    """The classes' names beside their colours, in as many columns as the width holds."""
    font = ImageFont.load_default(14)
    cell = 140, CAPTION
    columns = max(1, width // cell[0])
    rows = -(-len(classes) // columns)
    sheet = Image.new("RGB", (max(width, cell[0]), rows * cell[1] + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, name in enumerate(classes.names):
        x, y = number % columns * cell[0] + GAP, number // columns * cell[1] + GAP
        draw.rectangle((x, y, x + 14, y + 14), classes.palette[number], "black")
        draw.text((x + 20, y - 1), name, "black", font)
    return sheet


def side_by_side(
    image: PixelArray,
    prediction: PixelArray,
    classes: ClassSet,
    truth: PixelArray | None = None,
) -> Image.Image:
    """An image (H, W, 3), its prediction and, where it is known, its label, a legend below.

    Prediction and label are train ids (H, W), drawn in the classes' colours at the image's size.
    """
    height, width = image.shape[:2]
    panels = [
        ("image", image),
        ("prediction", colourise(prediction.astype(np.uint8), classes.palette)),
    ]
    if truth is not None:
        panels.append(("truth", colourise(truth.astype(np.uint8), classes.palette)))
    step = width + GAP
    key = legend(classes, len(panels) * step + GAP)
    sheet = Image.new("RGB", (key.width, height + CAPTION + GAP + key.height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (caption, pixels) in enumerate(panels):
        x = GAP + number * step
        draw.text((x, 2), caption, "black", font)
        panel = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(panel, (x, CAPTION))
    sheet.paste(key, (0, height + CAPTION + GAP))
    return sheet
