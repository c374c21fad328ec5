"""Comparison tables for a paper of two columns: LaTeX that needs booktabs and graphicx alone."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from harness.analysis.aggregate import aggregates
from harness.analysis.comparison import Table
from harness.analysis.published import published as literature
from harness.analysis.rows import ORACLE, Row, row_names
from harness.report.cells import PRECISION, difference_text, gain_at_seconds_text, number
from harness.report.columns import (
    Grid,
    aggregate_grid,
    main_grid,
    memory_kinds,
    memory_notes,
    memory_text,
    plain_grid,
    published_grid,
    scenarios,
)
from harness.report.plots.kinds import stems
from harness.text import plain

PREAMBLE = r"% In the preamble: \usepackage{booktabs,graphicx}" + "\n"
#: Classes that stand side by side across a page.
CLASSES_ACROSS = 20
#: Rows of a table that fit a page with its notes.
ROWS = 24
#: Letters of a name, beyond which its cell has several lines.
LONG = 26
_SIGNS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"~": r"$\sim$", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", '"': "''", "`": "'"},
    **{"±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "≥": r"$\geq$"},  # noqa: RUF001
    **{"…": r"\dots{}", "–": "--", "—": "---", "−": "$-$"},  # noqa: RUF001
}


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is: no command, no sign that a font of its lacks.

    Arrows become $\\rightarrow$; a letter beyond Latin-1 its nearest in ASCII, or a question mark.
    """
    arrows = re.split(r"(<->|->|<-)", plain(text))
    named = {"->": r"$\rightarrow$", "<-": r"$\leftarrow$", "<->": r"$\leftrightarrow$"}
    return "".join(named.get(part) or "".join(map(_sign, part)) for part in arrows)


def _sign(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if character.isascii() or ("À" <= character <= "ÿ"):
        return character
    nearest = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_SIGNS.get(c, c) for c in nearest) or "?"


def broken(text: str) -> str:
    """Escaped, and free to end a line within a word that is too long for one of its own."""
    words = plain(text).split(" ")
    return " ".join(escaped(w) if len(w) <= 20 else _broken_word(w) for w in words)


def _broken_word(word: str) -> str:
    """After each sign that joins parts of a name, and at the latest every 20 letters."""
    parts = re.findall(r"[^/_:\-+.,=@]{1,20}[/_:\-+.,=@]*|[/_:\-+.,=@]{1,20}", word)
    return r"\allowbreak{}".join(map(escaped, parts))


def latex(
    tables: Sequence[Table],
    per_class: bool = False,
    published: bool = False,
    over: bool = False,
    columns: Sequence[str] = (),
    precision: int = PRECISION,
) -> str:
    """The tables as floats that fit two columns' width, each with its notes and a label.

    `columns` are keys of `columns.COLUMNS`; none: those that a paper has room for.
    """
    parts = [PREAMBLE]
    for table, stem in zip(tables, stems(tables), strict=True):
        parts.append(
            _chosen(table, stem, columns, precision)
            if columns
            else _comparison(table, stem, precision)
        )
        if per_class and table.rows:
            parts += _by_class(table, stem, precision)
    if over:
        for index, one in enumerate(aggregates(tables), 1):
            parts.append(_plain_table(aggregate_grid(one, precision), f"over-scenarios-{index}"))
    if published:
        for name in scenarios(tables):
            grid = published_grid(name, literature(name))
            parts.append(_plain_table(grid, f"published-{name}"))
    return "\n".join(parts)


def _comparison(table: Table, stem: str, precision: int) -> str:
    """The columns that a paper has room for: what each row is, how good it is, what it costs."""
    rows = table.rows
    convention = table.scenario.convention
    best = _ranks(rows, precision)
    columns: list[tuple[str, str, list[str]]] = [("l", "method", [_cell(r.label) for r in rows])]
    if len({row.student for row in rows}) > 1:
        columns.append(("l", "student", [_cell(r.student) for r in rows]))
    if any(row.teachers for row in rows):
        columns.append(("l", "teacher", [_cell(" + ".join(r.teachers)) or "--" for r in rows]))
    scores = [_marked(_spread(r, precision), rank) for r, rank in zip(rows, best, strict=True)]
    columns.append(("r", f"mIoU \\% ({escaped(convention)})", scores))
    of_seconds = any(row.gain_at_seconds for row in rows)
    figures: list[tuple[str, Callable[[Row], str]]] = [
        (
            "gain (equal steps)" if of_seconds else "gain",
            lambda r: difference_text(r.gain, precision),
        ),
        ("gain (equal seconds)", lambda r: gain_at_seconds_text(r, precision)),
        ("train s", lambda r: number(r.train_seconds, ".0f")),
        ("img/s", lambda r: number(r.train_images_per_second)),
        ("MiB", lambda r: memory_text(r, memory_kinds(rows))),
        ("params M", lambda r: number(r.parameters_m, ".2f")),
    ]
    for name, cell in figures:
        cells = [cell(row) for row in rows]
        if any(text != "-" for text in cells):
            columns.append(("r", name, [_figure(text) for text in cells]))
    notes = [
        f"{_ranks_note(table)} train s: of a run, its frozen teacher's training included; img/s: "
        "source images; MiB: peak memory.",
        *table.shared,
        *table.notes,
        *memory_notes(rows),
        *table.failed,
    ]
    return _float(table.heading, f"tab:{stem}", columns, notes, r"\footnotesize")


def _chosen(table: Table, stem: str, keys: Sequence[str], precision: int) -> str:
    """The columns of these keys alone; the mIoU among them is marked as in the other tables."""
    grid = main_grid(table, keys, precision)
    if "miou" not in keys:
        return _plain_table(grid, stem)
    grid = replace(grid, notes=[_ranks_note(table), *grid.notes])
    return _plain_table(grid, stem, {keys.index("miou"): _ranks(table.rows, precision)})


def _ranks(rows: Sequence[Row], precision: int) -> list[int | None]:
    return ranked([_rankable(row, row.miou.mean) for row in rows], precision)


def _ranks_note(table: Table) -> str:
    return f"Bold: best, underlined: second best in {table.scenario.convention}, {ORACLE} left out."


def _by_class(table: Table, stem: str, precision: int) -> list[str]:
    """Classes across, as many as fit a page at a time, and the mean at the end of the last."""
    names = list(dict.fromkeys(name for row in table.rows for name in row.iou))
    blocks = [names[i : i + CLASSES_ACROSS] for i in range(0, len(names), CLASSES_ACROSS)]
    made = []
    for index, block in enumerate(blocks):
        columns = [("l", "method", [_cell(label, 24) for label in row_names(table.rows)])]
        for name in block:
            ious = [r.iou.get(name) for r in table.rows]
            columns.append(_ranked_column(name, table.rows, ious, precision))
        if index == len(blocks) - 1:
            means = [r.miou.mean for r in table.rows]
            columns.append(_ranked_column("mIoU", table.rows, means, precision))
        label = f"tab:{stem}-classes" + (f"-{index + 1}" if index else "")
        heading = f"IoU % by class, mean over seeds: {table.heading}"
        made.append(_float(heading, label, columns, [], r"\scriptsize"))
    return made


def _ranked_column(
    name: str, rows: Sequence[Row], values: Sequence[float | None], precision: int
) -> tuple[str, str, list[str]]:
    ranks = ranked([_rankable(*pair) for pair in zip(rows, values, strict=True)], precision)
    texts = [_figure(number(value, f".{precision}f")) for value in values]
    cells = [_marked(text, rank) for text, rank in zip(texts, ranks, strict=True)]
    return "r", rf"\rotatebox{{90}}{{{escaped(name)}}}", cells


def ranked(values: Sequence[float | None], precision: int = PRECISION) -> list[int | None]:
    """1 for the best as printed with so many decimals, 2 for the second, ties alike; else None."""
    shown = [round(v, precision) if v is not None and math.isfinite(v) else None for v in values]
    order = sorted({v for v in shown if v is not None}, reverse=True)[:2]
    if len(order) < 2:  # nothing to tell apart
        return [None] * len(values)
    return [order.index(v) + 1 if v in order else None for v in shown]


def _rankable(row: Row, value: float | None) -> float | None:
    return None if row.method == ORACLE else value


def _marked(text: str, rank: int | None) -> str:
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(rank or 0, text)


def _figure(text: str) -> str:
    """A figure with signs of their right length; a dash where there is none."""
    return "--" if text == "-" else re.sub(r"-(?=\d)", "$-$", escaped(text))


def _spread(row: Row, precision: int) -> str:
    sd = rf" $\pm$ {row.miou.sd:.{precision}f}" if math.isfinite(row.miou.sd) else ""
    return f"{number(row.miou.mean, f'.{precision}f')}{sd} ({row.miou.n})"


def _cell(text: str, long: int = LONG) -> str:
    """A name; one that is long in several lines of its cell."""
    if len(text) <= long:
        return escaped(text)
    return rf"\parbox[t]{{{long * 0.46:.0f}em}}{{\raggedright {broken(text)}\strut}}"


def _plain_table(
    grid: Grid, name: str, ranks: Mapping[int, Sequence[int | None]] | None = None
) -> str:
    """`ranks` are of the rows, by the number of the column that they mark."""
    grid = plain_grid(grid)
    columns = []
    for i, (title, side) in enumerate(zip(grid.columns, grid.alignment, strict=True)):
        write = _cell if side == "left" else _figure
        cells = [write(row[i]) for row in grid.rows]
        if ranks and i in ranks:
            cells = [_marked(*pair) for pair in zip(cells, ranks[i], strict=True)]
        columns.append(("l" if side == "left" else "r", escaped(title), cells))
    notes = [*grid.shared, *grid.notes]
    return _float(grid.heading, f"tab:{name}", columns, notes, r"\footnotesize")


def _float(
    heading: str,
    label: str,
    columns: Sequence[tuple[str, str, list[str]]],
    notes: Iterable[str],
    size: str,
) -> str:
    """Side, title and cells of each column as table* of two columns' width, as many as it takes."""
    count = len(columns[0][2])
    starts = range(0, count, ROWS) if count else [0]
    floats = []
    for part, start in enumerate(starts, 1):
        suffix = f"-{part}" if part > 1 else ""
        lines = [
            r"\begin{table*}",
            r"\centering",
            r"\setlength{\belowcaptionskip}{4pt}",
            rf"\caption{{{escaped(heading)}{', continued' if suffix else ''}}}",
            rf"\label{{{label}{suffix}}}",
            rf"{size}\setlength{{\tabcolsep}}{{{'2.2pt' if len(columns) > 12 else '4pt'}}}",
            *(_tabular(columns, range(start, min(start + ROWS, count))) if count else []),
            *(_notes(notes) if part == len(starts) else []),
            r"\end{table*}",
        ]
        floats.append("\n".join(lines) + "\n")
    return "\n".join(floats)


def _tabular(columns: Sequence[tuple[str, str, list[str]]], rows: range) -> list[str]:
    return [
        rf"\begin{{tabular}}{{@{{}}{''.join(side for side, _, _ in columns)}@{{}}}}",
        r"\toprule",
        " & ".join(title for _, title, _ in columns) + r" \\",
        r"\midrule",
        *(" & ".join(cells[i] for _, _, cells in columns) + r" \\" for i in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _notes(notes: Iterable[str]) -> list[str]:
    lines = [broken(note) + r"\par" for note in notes]
    if not lines:
        return []
    opening = r"\par\smallskip\begin{minipage}{\textwidth}\scriptsize\raggedright"
    return [opening, *lines, r"\end{minipage}"]
