"""What a page of the documentation shows: its files, its commands, its links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]

#: How a line of a block begins that is a command.
_COMMAND = re.compile(r"(bench|pip|python|pytest|git|srun|export|[A-Z_]+=\S+) ")
#: A fenced block (its language, its text), or lines that are indented after an empty one.
_BLOCK = re.compile(
    r"^ *```(\w*)\n(.*?)^ *```$|(?<=\n\n)((?: {4,}\S[^\n]*\n)+)", re.DOTALL | re.MULTILINE
)
_MARK = re.compile(r"<!-- not run: ([^\n]+) -->\s*\Z")


@dataclass(frozen=True)
class CommandBlock:
    """Commands as a page shows them together, each on one line; why no test runs them, if so."""

    lines: list[str]
    not_run: str | None


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def files(text: str) -> dict[str, str]:
    """Blocks that follow a file's name in a line of its own: `name.py`:"""
    return dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", text, re.S | re.M))


def commands(text: str) -> list[list[str]]:
    """The lines of its shell blocks, as words."""
    return [shlex.split(line) for block in blocks(text, "sh") for line in block.splitlines()]


def command_blocks(text: str) -> list[CommandBlock]:
    """Blocks of commands, fenced as `sh` or indented; other blocks of code are none.

    A comment `<!-- not run: why -->` before one says that no test runs it.
    """
    made = []
    for match in _BLOCK.finditer(f"{text}\n"):
        language, fenced, indented = match.groups()
        lines = (indented or fenced).replace("\\\n", "").splitlines()
        lines = [" ".join(line.split()) for line in lines if line.strip()]
        if (indented or language == "sh") and lines and _COMMAND.match(lines[0]):
            mark = _MARK.search(text[: match.start()])
            made.append(CommandBlock(lines, mark and mark[1]))
    return made


def links(text: str) -> list[tuple[str, str]]:
    """Path and anchor of every link that leads to no other site."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
    targets = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", prose)
    return [(unquote(path), anchor) for path, anchor in targets if not re.match(r"\w+:", path)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
    made: dict[str, int] = {}
    slugs = set()
    for heading in re.findall(r"^#+ +(.+?) *#*$", prose, re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        slugs.add(f"{slug}-{made[slug]}" if slug in made else slug)
        made[slug] = made.get(slug, 0) + 1
    return slugs
