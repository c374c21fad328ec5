"""How figures look: a paper's column, its type, colours that the colour-blind tell apart, files."""

from __future__ import annotations

import io
import logging
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.errors import BenchError
from harness.files import written_whole
from harness.text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

#: Inches of a paper of two columns (IEEE, CVF): one column, and the page.
WIDTHS = {"column": 3.35, "page": 6.9}
#: What a file's name may end in.
SUFFIXES = (".png", ".svg", ".pdf")
#: Okabe and Ito, Color Universal Design, 2008, without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, FAINT = "#555555", "#bbbbbb"
#: A map of one hue that grows darker, of the same lightness to every kind of sight.
HEAT = "viridis"
_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib brings it: the same on every machine
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "legend.frameon": False,
    "savefig.dpi": 300,
    "svg.hashsalt": "uda-bench",  # else ids are drawn at random
    "pdf.fonttype": 42,  # publishers refuse type 3
    "text.parse_math": False,  # a name with two $ is no formula
}
#: What matplotlib would write of the time and of itself.
_UNDATED: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

#: How matplotlib begins to say, once a letter, that a font cannot draw it.
_NO_GLYPH = re.compile(r"Glyph (\d+) ")


@contextmanager
def styled(*, svg_text: bool = False) -> Iterator[None]:
    """Figures are drawn and written within this.

    svg_text: SVG holds text as text, in the reader's font, which takes half the bytes; else as it
    was drawn.
    """
    import matplotlib

    fonts = {"svg.fonttype": "none" if svg_text else "path"}
    with matplotlib.rc_context(cast(Any, _SETTINGS | fonts)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", _NO_GLYPH.pattern)  # as_bytes says it
        yield


def new_figure(width: float, height: float, pad: float = 0.04) -> Figure:
    """An empty figure of so many inches, laid out so that nothing overlaps or is cut."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    space = 0.02 if pad > 0.02 else 0
    layout = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=space, hspace=space)
    return Figure(figsize=(width, height), layout=layout)


def suffix_of(path: Path) -> str:
    """The format of a file by its name. BenchError for one that is none of SUFFIXES."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BenchError(f"--out {path}: expected a name that ends in {', '.join(SUFFIXES)}.")
    return suffix


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; equal figures are equal files."""
    content = as_bytes(figure, suffix_of(path))
    with written_whole(path) as partial:
        partial.write_bytes(content)


def as_bytes(figure: Figure, suffix: str) -> bytes:
    """The figure as a file of that ending. Letters that its font lacks are said in the log."""
    import matplotlib

    buffer = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _NO_GLYPH.pattern)
        figure.savefig(buffer, format=suffix[1:], metadata=_UNDATED[suffix])
    lacking = set()
    for warning in caught:
        if found := _NO_GLYPH.match(str(warning.message)):
            lacking.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    as_text = suffix == ".svg" and matplotlib.rcParams["svg.fonttype"] == "none"
    if lacking and not as_text:  # else they are drawn in a font of the reader's
        _tell_lacking("".join(sorted(lacking)))
    return buffer.getvalue()


@cache
def _tell_lacking(letters: str) -> None:
    """Once a process: most figures of a command hold the same names."""
    log.warning("the font of figures has no %s: boxes stand there instead", plain(letters))


def short(name: str, most: int = 34) -> str:
    """A name that others chose, on one line and no longer than there is room for.

    What is too much goes from behind its middle: names of networks differ at their ends.
    """
    name, ending = plain(name), most * 2 // 5
    return name if len(name) <= most else f"{name[: most - 1 - ending]}…{name[-ending:]}"


def heading(figure: Figure, text: str) -> None:
    """What the figure is of, above all else, from the left edge, in as many lines as it takes."""
    lines = textwrap.wrap(short(text, 240), int(19 * figure.get_figwidth()))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", color=GREY, fontsize=6.5)


def colours_of(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each name; no two names share both up to 49 of them."""
    count, shapes = len(COLOURS), len(MARKERS)
    return {
        name: (COLOURS[i % count], MARKERS[(i + i // count) % shapes])
        for i, name in enumerate(names)
    }
