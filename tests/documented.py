"""What a page of the documentation shows: its files and its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
