"""`bench list` and `bench info`: what there is, in words."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from harness import catalogue
from harness.catalogue import unknown
from harness.spec import Profile
from methods import registry
from methods.networks import zoo

KINDS = ("methods", "scenarios", "profiles", "networks", "suites")


def entries(kind: str) -> dict[str, str]:
    """Names of a kind, each with a line of what it is. Imports no torch."""
    if kind == "methods":
        return {name: registry.summary(name) for name in registry.names()}
    if kind == "networks":
        return {name: zoo.describe(name) for name in zoo.names()}
    field = {"scenarios": "title", "profiles": "description", "suites": "question"}[kind]
    return {name: catalogue.read(kind, name)[field] for name in catalogue.names(kind)}


def print_list(kind: str, pattern: str) -> None:
    """Print one kind, or all of them; `pattern` as in a shell."""
    console = Console()
    for shown in KINDS if kind == "all" else (kind,):
        table = Table("name", "what it is", title=shown, title_justify="left", box=None)
        for name, text in entries(shown).items():
            if fnmatch.fnmatch(name, pattern):
                table.add_row(name, text)
        console.print(table)


def print_info(name: str) -> None:
    """Print what a name stands for, of whatever kind. BenchError for an unknown one."""
    console = Console()
    kinds = [kind for kind in KINDS if name in entries(kind)]
    if not kinds:
        raise unknown("name", name, [n for kind in KINDS for n in entries(kind)])
    for kind in kinds:
        {"methods": _method, "networks": _network}.get(kind, _toml(kind))(name, console)


def _method(name: str, console: Console) -> None:
    method = registry.load(name)
    console.print(f"[bold]{name}[/bold]: {method.title}")
    if method.paper:
        console.print(f"paper: {method.paper}", highlight=False)
    console.print((method.__doc__ or "").strip(), highlight=False, markup=False)
    if method.needs_target_labels:
        console.print("needs target labels: no adaptation, a ceiling")
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
    import torch

    from harness.meter import parameters_m

    with torch.device("meta"):
        network = zoo.build(name)
    console.print(f"[bold]{name}[/bold]: {zoo.describe(name)}", highlight=False)
    console.print(
        f"{parameters_m(network):.2f} M parameters, {parameters_m(network.encoder):.2f} M of them "
        f"in the encoder; stages of {_plain(network.feature_channels)} channels, fused map of "
        f"{network.fused_channels}"
    )


def _toml(kind: str) -> Any:
    def show(name: str, console: Console) -> None:
        values = catalogue.read(kind, name)
        descriptions = {}
        if kind == "profiles":
            values = catalogue.profile(name).model_dump()
            descriptions = {n: f.description or "" for n, f in Profile.model_fields.items()}
        console.print(f"[bold]{name}[/bold] ({kind.removesuffix('s')})")
        table = Table(box=None, show_header=False)
        for key, value in values.items():
            shown = value
            if isinstance(value, dict):
                shown = ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
            table.add_row(key, _plain(shown), descriptions.get(key, ""))
        console.print(table)

    return show
