"""Figures: rows of captioned panels."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from harness.data.transforms import PixelArray

CELL = (384, 192)  # width, height of a panel
GAP, CAPTION = 8, 22


def compose(rows: list[list[tuple[str, PixelArray]]]) -> Image.Image:
    """Lay out rows of captioned panels."""
    columns = max(map(len, rows))
    step_x, step_y = CELL[0] + GAP, CELL[1] + GAP + CAPTION
    sheet = Image.new("RGB", (columns * step_x + GAP, len(rows) * step_y + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for y, row in enumerate(rows):
        for x, (caption, pixels) in enumerate(row):
            corner = (GAP + x * step_x, GAP + y * step_y)
            draw.text(corner, caption, "black", font)
            panel = Image.fromarray(pixels).resize(CELL, Image.Resampling.NEAREST)
            sheet.paste(panel, (corner[0], corner[1] + CAPTION))
    return sheet
