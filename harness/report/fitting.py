"""A table within a terminal's width: which columns it holds, and where its names wrap. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from rich.cells import cell_len, chop_cells

#: After these a name may break.
_BREAKS = re.compile(r"[^:/_,+\-]*[:/_,+\-]+|[^:/_,+\-]+")
#: A space that holds together what says nothing alone: `~` and what it stands by, `n = 3`.
_HELD = "\N{NO-BREAK SPACE}"
#: Cells that a column of names, the first one aside, wraps to before a figure is left out.
NARROWEST = 12


def column_widths(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    alignment: Sequence[Literal["left", "right"]],
    width: int,
) -> dict[int, int]:
    """The columns that a terminal of that width holds, at least one, and the width of each.

    Names wrap first; then figures are left out from the right, but for the first: where that does
    not fit beside the names, names are left out from the right until it does, but for the first.
    In no column does a figure break, nor a word of a name or header up to a sixth of the terminal,
    a third in the first. Room that is left goes to columns whose text would wrap, from the left.
    """
    cells = [[row[i] for row in rows] for i in range(len(columns))]
    least: list[int] = []
    for name, column, side in zip(columns, cells, alignment, strict=True):
        texts = [name, *column] if side == "left" else [name]
        words = (cell_len(word) for text in texts for word in text.split())
        figures = [cell_len(cell) for cell in column if side == "right"]
        limit = max(width // 6, NARROWEST) if least else width // 3
        least.append(max(min(max(words, default=0), limit), *figures, 1))
    widths = {i: least[i] for i in _shown(least, alignment, width)}
    for i, at_least in widths.items():
        room = width - _table_width(widths.values())
        widths[i] = min(max(map(cell_len, [columns[i], *cells[i]])), at_least + max(0, room))
    return widths


def _shown(least: Sequence[int], alignment: Sequence[str], width: int) -> list[int]:
    """Which columns of these widths fit."""

    def fits(shown: Sequence[int]) -> bool:
        return _table_width([least[i] for i in shown]) <= width

    names = [i for i, side in enumerate(alignment) if side == "left"]
    figures = [i for i, side in enumerate(alignment) if side == "right"]
    for kept in range(len(names), -1, -1):
        count = 0
        while count < len(figures) and fits(names[:kept] + figures[: count + 1]):
            count += 1
        enough = count or not figures or (kept <= 1 and names)
        if enough and fits(names[:kept]):
            return sorted(names[:kept] + figures[:count])
    return [0]


def _table_width(widths: Collection[int]) -> int:
    """With a space after each column, one between two, and one at either end."""
    return sum(widths) + 2 * len(widths) + 1


def wrapped(text: str, width: int) -> str:
    """The text in lines of at most `width` cells: broken at spaces, else after a sign of a name.

    `~` stays with the word that follows it, a number with the sign before it (`n = 3`).
    """
    held = re.sub(r"(?<!\S)~ (?=\S)", f"~{_HELD}", text)
    held = re.sub(r" ([=<>]=?) (?=\S)", rf"{_HELD}\1{_HELD}", held)
    lines = [""]
    for word in filter(None, held.split(" ")):
        separator = " " if lines[-1] else ""
        for piece in _pieces(word, width):
            if cell_len(lines[-1]) + cell_len(separator + piece) > width and lines[-1]:
                lines.append("")
                separator = ""
            lines[-1] += separator + piece
            separator = ""
    return "\n".join(lines).replace(_HELD, " ")


def _pieces(word: str, width: int) -> Iterator[str]:
    """The word whole where a line holds it, else its parts."""
    if cell_len(word) <= width:
        yield word
        return
    for part in _BREAKS.findall(word):
        yield from [part] if cell_len(part) <= width else chop_cells(part, max(width, 1))
