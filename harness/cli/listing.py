"""`bench list` and `bench info`: what there is, in words."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.config import catalogue
from harness.config.planning import find_method
from harness.config.schema import Profile
from harness.config.start_weights import sources
from harness.errors import BenchError, unknown
from methods import registry
from methods.networks import zoo

CATEGORIES = ("methods", "scenarios", "profiles", "networks", "suites")
#: Other libraries, whose networks are listed only when a pattern begins so.
LIBRARIES = ("timm:", "mmseg:")


def entries(category: str) -> dict[str, str]:
    """Names of a kind, each with a line of what it is. Imports no torch."""
    if category == "methods":
        return {name: registry.summary(name) for name in registry.names()}
    if category == "networks":
        return {name: zoo.describe(name) for name in zoo.names()}
    field = {"scenarios": "title", "profiles": "description", "suites": "question"}[category]
    return {name: catalogue.read(category, name)[field] for name in catalogue.names(category)}


def print_list(category: str, pattern: str) -> None:
    """Print one kind, or all of them; `pattern` as in a shell, of timm's or mmseg's names too."""
    console = Console()
    if category in ("networks", "all") and pattern.startswith(LIBRARIES):
        console.print(_table("networks", _foreign_entries(pattern)))
        return
    for shown in CATEGORIES if category == "all" else (category,):
        matching = {n: text for n, text in entries(shown).items() if fnmatch.fnmatch(n, pattern)}
        console.print(_table(shown, matching))
        if shown == "methods":
            console.print("Some join with `+`: dualkd+mic; `bench info NAME` says which.")


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table("name", "what it is", title=title, title_justify="left", box=None)
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _foreign_entries(pattern: str) -> dict[str, str]:
    """Networks of another library. BenchError, with the nearest names, where none matches."""
    known = zoo.foreign_names(pattern.partition(":")[0])
    matching = fnmatch.filter(known, pattern)
    if not matching:
        near = difflib.get_close_matches(pattern, known, 3, cutoff=0.0)
        raise BenchError(
            f"none of {len(known)} networks matches {pattern!r}; the nearest are {', '.join(near)}."
        )
    return {name: zoo.describe(name) for name in matching}


def print_info(name: str) -> None:
    """Print what a name stands for, of whatever kind. BenchError for an unknown one."""
    console = Console()
    if name.startswith((*LIBRARIES, zoo.TWO_SCALES)):
        _network(name, console)
        return
    categories = [category for category in CATEGORIES if name in entries(category)]
    if "+" in name and not categories:
        categories = ["methods"]
    if not categories:
        raise unknown("name", name, [n for category in CATEGORIES for n in entries(category)])
    for category in categories:
        {"methods": _method, "networks": _network}.get(category, _toml(category))(name, console)


def _method(name: str, console: Console) -> None:
    from methods.composition import Part, partners

    method = find_method(name)
    console.print(f"[bold]{registry.canonical(name)}[/bold]: {method.title}")
    if method.paper:
        console.print(f"paper: {method.paper}", highlight=False)
    console.print((method.__doc__ or "").strip(), highlight=False, markup=False)
    if method.needs_target_labels:
        console.print("needs target labels: no adaptation, an upper bound")
    if joined := partners(Part(name, method)):
        console.print(f"joins with `+`: {', '.join(joined)}")
    table = Table("knob", "default", "what it is", box=None)
    for knob, default, text in knobs(method.Config):
        table.add_row(knob, default, text)
    console.print(table)


def knobs(config: type[BaseModel]) -> Iterable[tuple[str, str, str]]:
    """Name, default and meaning of every field."""
    for name, field in config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        yield (
            name,
            "(required)" if field.is_required() else _plain(default),
            field.description or "",
        )


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "-"
    return str(value)


def _network(name: str, console: Console) -> None:
    from harness.config.network_files import outline
    from harness.measure.flops import parameters_m

    network = outline(name)
    console.print(f"[bold]{name}[/bold]: {zoo.describe(name)}", highlight=False)
    console.print(
        f"{parameters_m(network):.2f} M parameters, {parameters_m(network.encoder):.2f} M of them "
        f"in the encoder; stages of {_plain(network.feature_channels)} channels, fused map of "
        f"{network.fused_channels}"
    )
    if tile := getattr(network.encoder, "tile", None):
        console.print(f"built for one size only: processes images in tiles of {tile}x{tile}")
    if zoo.pretrained(name):
        line = escape(f"weights for --init: {sources(name)}")
        console.print(line, highlight=False, soft_wrap=True)


def _toml(category: str) -> Any:
    def show(name: str, console: Console) -> None:
        values = catalogue.read(category, name)
        descriptions = {}
        if category == "profiles":
            values = catalogue.profile(name).model_dump()
            descriptions = {n: f.description or "" for n, f in Profile.model_fields.items()}
        console.print(f"[bold]{name}[/bold] ({category.removesuffix('s')})")
        table = Table(box=None, show_header=False)
        for key, value in values.items():
            shown = value
            if isinstance(value, dict):
                shown = ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
            table.add_row(key, _plain(shown), descriptions.get(key, ""))
        console.print(table)

    return show
