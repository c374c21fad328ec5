"""What messages and help name exists: commands of `bench`, their options and choices, pages."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import typer

from harness.cli.main import app
from harness.config import catalogue

ROOT = Path(__file__).parents[3]
#: Stands for what a message fills in.
FILLED = "FILLED"
#: Options of other programs.
FOREIGN = {"--shm-size"}


def strings(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every string of a module that is no docstring; f-strings as one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    left_out = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            left_out.update(map(id, node.values))
            parts = [p.value if isinstance(p, ast.Constant) else FILLED for p in node.values]
            yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in left_out
        ):
            yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


EVERY = [s for path in sorted((ROOT / "harness").rglob("*.py")) for s in strings(path)]
VERBS = typer.main.get_command(app)


def commands(text: str) -> Iterator[str]:
    """The commands of `bench` in a text: in backquotes, in an example, or after `next: `."""
    yield from re.findall(r"`(bench [^`]+)`", text)
    if re.match(r"(next: )?bench [a-z-]+( |$)", text):
        yield from text.removeprefix("next: ").split("; ")


def wrong_with(command: str) -> str:
    """What of a command does not exist; "" where all of it does."""
    words = shlex.split(command.partition(" | ")[0].partition(" > ")[0], comments=True)[1:]
    verb, path = VERBS, ["bench"]
    while words and hasattr(verb, "commands") and not words[0].startswith("-"):
        if words[0] in ("NAME", FILLED):
            return ""
        if words[0] not in verb.commands:
            return f"no {words[0]} in {' '.join(path)}"
        path.append(words[0])
        verb = verb.commands[words.pop(0)]
    options = {name for p in verb.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        if word.startswith("--") and word.partition("=")[0] not in options:
            return f"no {word} of {' '.join(path)}"
    first = next((p.name for p in verb.params if p.param_type_name == "argument"), "")
    hints = get_type_hints(inspect.unwrap(verb.callback)) if first else {}
    choices = get_args(hints[first]) if first and get_origin(hints[first]) is Literal else ()
    if words and choices and not words[0].startswith("-") and words[0] not in choices:
        return f"no {words[0]} for {' '.join(path)}"
    return ""


def test_every_command_in_a_message_is_one():
    named = [(place, command) for place, text in EVERY for command in commands(text)]
    assert len(named) > 60
    wrong = [f"{place}: {command}: {w}" for place, command in named if (w := wrong_with(command))]
    assert not wrong, "\n".join(wrong)


def every_option(verb=VERBS) -> set[str]:
    own = {name for p in verb.params for name in (*p.opts, *p.secondary_opts)}
    return own.union(*(every_option(v) for v in getattr(verb, "commands", {}).values()))


def test_every_option_in_a_message_is_one():
    known = every_option() | {"--help"} | FOREIGN
    wrong = [
        f"{place}: {option}"
        for place, text in EVERY
        if " " in text  # else a word of another program's command line
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
        if option not in known
    ]
    assert not wrong, "\n".join(wrong)


def test_every_page_in_a_message_is_there():
    for place, text in EVERY:
        for name in re.findall(r"\bdocs/[\w/.-]+\.md", text):
            assert (ROOT / name).is_file(), (place, name)


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("bench list datasets", "datasets"),
        (f"bench list {FILLED}", FILLED),
        ("bench data vrify", "vrify"),
        ("bench table --perclass", "--perclass"),
        ("bench table --per-class", ""),
    ],
)
def test_what_does_not_exist_is_found(command, wrong):
    assert wrong in wrong_with(command)
    assert bool(wrong_with(command)) == bool(wrong)


@pytest.mark.parametrize("kind", ["scenarios", "profiles", "suites", "classes", "datasets"])
def test_the_remedy_for_a_missing_file_or_name_exists(kind):
    for name in ("nosuch", "nosuch.toml"):
        with pytest.raises(catalogue.BenchError) as caught:
            catalogue.read(kind, name)
        said = str(caught.value)
        assert not [w for command in commands(said) if (w := wrong_with(command))]
        assert "`bench " in said or any(known in said for known in catalogue.names(kind))
