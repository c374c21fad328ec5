"""`bench list` and `bench info`: what there is, as text, as plain lines or as JSON."""

from __future__ import annotations

import difflib
import fnmatch
import json
import shlex
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel
from rich.console import Console

from harness.config import catalogue
from harness.config.data_set import DataSet
from harness.config.planning import find_method, use_plugins
from harness.config.schema import Profile, Scenario, Suite
from harness.config.start_weights import sources
from harness.errors import BenchError, unknown
from harness.report.columns import Grid
from harness.report.fitting import wrapped
from harness.report.formats import print_grid
from harness.text import plain
from methods import registry
from methods.networks import zoo

Form = Literal["text", "plain", "json"]
CATEGORIES = ("methods", "scenarios", "profiles", "networks", "suites")
#: Other libraries, whose networks are listed only when a pattern begins so.
LIBRARIES = ("timm:", "mmseg:")
#: What stands below a list.
_NOTES = {
    "methods": "Some join with `+`: dualkd+mic; `bench info NAME` says which.",
    "networks": "Any encoder of timm and any network of mmsegmentation too: "
    "`bench list networks 'timm:*'`, `bench list networks 'mmseg:*'`.",
}
#: What a user's TOML file may be, and a field that only such a file has.
TOML_KINDS = {
    "suites": "question",
    "scenarios": "target",
    "profiles": "image_size",
    "datasets": "layouts",
}


def entries(category: str) -> dict[str, str]:
    """Names of a kind, each with a line of what it is. Imports no torch."""
    if category == "methods":
        return {name: registry.summary(name) for name in registry.names()}
    if category == "networks":
        return {name: zoo.describe(name) for name in zoo.names()}
    field = {"scenarios": "title", "profiles": "description", "suites": "question"}[category]
    return {name: catalogue.read(category, name)[field] for name in catalogue.names(category)}


def print_list(category: str, pattern: str, form: Form = "text") -> None:
    """Print one kind, or all of them; `pattern` as in a shell, of timm's or mmseg's names too.

    BenchError, with the nearest names, where none matches.
    """
    if category in ("networks", "all") and pattern.startswith(LIBRARIES):
        listed = {"networks": _foreign_entries(pattern)}
    else:
        shown = CATEGORIES if category == "all" else (category,)
        every = {kind: entries(kind) for kind in shown}
        listed = {
            kind: {name: text for name, text in named.items() if fnmatch.fnmatch(name, pattern)}
            for kind, named in every.items()
        }
        if not any(listed.values()):
            known = [name for named in every.values() for name in named]
            raise _no_match(category, pattern, known)
        listed = {kind: named for kind, named in listed.items() if named}
    rows = [(kind, name, text) for kind, named in listed.items() for name, text in named.items()]
    if form == "json":
        _print_json([{"name": name, "kind": kind, "text": text} for kind, name, text in rows])
    elif form == "plain":
        for kind, name, text in rows:
            print(plain(name), kind, plain(text), sep="\t")
    else:
        console = Console()
        for kind, named in listed.items():
            notes = [_NOTES[kind]] if kind in _NOTES and not pattern.startswith(LIBRARIES) else []
            _print_table(console, kind, ("name", "what it is"), named.items(), notes)


def _foreign_entries(pattern: str) -> dict[str, str]:
    """Networks of another library. BenchError, with the nearest names, where none matches."""
    known = zoo.foreign_names(pattern.partition(":")[0])
    matching = fnmatch.filter(known, pattern)
    if not matching:
        raise _no_match("networks", pattern, known)
    return {name: zoo.describe(name) for name in matching}


def _no_match(category: str, pattern: str, known: Sequence[str]) -> BenchError:
    what = "names" if category == "all" else category
    near = difflib.get_close_matches(pattern, known, 3, cutoff=0.0)
    return BenchError(
        f"none of {len(known)} {what} matches {pattern!r}; the nearest are {', '.join(near)}."
    )


class Described(NamedTuple):
    """What a name stands for: sentences, then its knobs or fields."""

    name: str
    kind: str
    sentences: list[str]
    fields: list[tuple[str, str, str]] = []  # noqa: RUF012 - never changed: name, value, meaning


def print_info(name: str, form: Form = "text") -> None:
    """Print what a name, or a user's file, stands for. BenchError for an unknown one."""
    described = list(_described(name))
    if form == "json":
        _print_json(
            [
                {
                    "name": each.name,
                    "kind": each.kind,
                    "text": each.sentences,
                    "fields": [
                        {"name": field, "value": value, "text": text}
                        for field, value, text in each.fields
                    ],
                }
                for each in described
            ]
        )
        return
    console = Console()
    for each in described:
        if form == "plain":
            for sentence in (f"{each.name} ({each.kind})", *each.sentences):
                print(plain(sentence))
            for field in each.fields:
                print(*map(plain, field), sep="\t")
            continue
        for sentence in each.sentences:
            console.print(
                "\n".join(wrapped(plain(line), console.width) for line in sentence.splitlines()),
                markup=False,
                highlight=False,
            )
        columns = ("knob", "default", "what it is")
        if each.kind != "method":
            columns = ("field", "value", "what it is")
        if each.fields:
            heading = f"{each.name} ({each.kind})"
            _print_table(console, heading, columns, each.fields)


def _described(name: str) -> Iterable[Described]:
    """What the name stands for, of every kind that has it."""
    if name.endswith(".py") and not name.startswith(LIBRARIES):
        use_plugins([*(plug_in.path for plug_in in registry.FILES.values()), Path(name)])
        return [_method(Path(name).stem)]
    if name.endswith(".toml"):
        return [_toml(_kind_of_file(name), name)]
    if name.startswith((*LIBRARIES, zoo.TWO_SCALES)):
        return [_network(name)]
    categories = [category for category in CATEGORIES if name in entries(category)]
    if "+" in name and not categories:
        categories = ["methods"]
    if not categories:
        known = [n for category in CATEGORIES for n in entries(category)]
        raise unknown("name", name, known, "bench list")
    readers = {"methods": _method, "networks": _network}
    return [
        readers[category](name) if category in readers else _toml(category, name)
        for category in categories
    ]


def _kind_of_file(name: str) -> str:
    if not Path(name).is_file():
        raise BenchError(
            f"{name}: no such file; expected the TOML file of a suite, a scenario, a profile or a "
            "data set."
        )
    values = catalogue.read("suites", name)
    for category, field in TOML_KINDS.items():
        if field in values:
            return category
    titles = {
        kind: f"{catalogue.SINGULAR.get(kind, kind.removesuffix('s'))}s" for kind in TOML_KINDS
    }
    expected = ", ".join(f"{titles[kind]} have {field}" for kind, field in TOML_KINDS.items())
    raise BenchError(
        f"{name} holds {', '.join(values)}; expected a suite, a scenario, a profile or a data set: "
        f"{expected}."
    )


def _method(name: str) -> Described:
    from methods.composition import Part, partners

    method = find_method(name)
    canonical = registry.canonical(name)
    sentences = [f"{canonical}: {method.title}"]
    if method.paper:
        sentences.append(f"paper: {method.paper}")
    if method.__doc__:
        sentences.append(method.__doc__.strip())
    if method.needs_target_labels:
        sentences.append("needs target labels: no adaptation, an upper bound")
    if joined := partners(Part(name, method)):
        sentences.append(f"joins with `+`: {', '.join(joined)}")
    return Described(canonical, "method", sentences, list(knobs(method.Config)))


def knobs(config: type[BaseModel]) -> Iterable[tuple[str, str, str]]:
    """Name, default and meaning of every field."""
    for name, field in config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        yield (
            name,
            "(required)" if field.is_required() else _spelled(default),
            field.description or "",
        )


def _spelled(value: Any) -> str:
    """As --set takes it, but for tables."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_spelled(item)}" for key, item in value.items()) or "{}"
    if isinstance(value, Set):
        value = sorted(value, key=str)
    if isinstance(value, tuple | list):
        if any(isinstance(item, dict) for item in value):
            return "; ".join(map(_spelled, value))
        return ",".join(map(str, value)) or "[]"
    return "null" if value is None else str(value)


def _network(name: str) -> Described:
    from harness.config.network_files import outline, pinned
    from harness.measure.flops import parameters_m

    name = pinned(name)  # as runs, records and tables name it
    network = outline(name)
    sentences = [
        f"{name}: {zoo.describe(name)}",
        f"{parameters_m(network):.2f} M parameters, {parameters_m(network.encoder):.2f} M of them "
        f"in the encoder; stages of {_spelled(network.feature_channels)} channels, fused map of "
        f"{network.fused_channels}",
    ]
    if tile := getattr(network.encoder, "tile", None):
        sentences.append(f"built for one size only: processes images in tiles of {tile}x{tile}")
    if zoo.pretrained(name):
        sentences.append(f"weights for --init: {sources(name)}")
    return Described(name, "network", sentences)


def _toml(category: str, name: str) -> Described:
    """A file as it is used, with the fields that it leaves out; of own data sets the set ones."""
    models: dict[str, Any] = {
        "scenarios": (catalogue.scenario, Scenario),
        "profiles": (catalogue.profile, Profile),
        "suites": (catalogue.suite, Suite),
        "datasets": (lambda name: catalogue.own_data_set(Path(name)), DataSet),
    }
    read, model = models[category]
    made = read(name)
    values = made.model_dump(exclude_unset=category == "datasets")
    if own := values.get("datasets"):  # of a scenario: each has a file, which says more
        values["datasets"] = list(own)
    fields = [
        (field, _spelled(values[field]), described.description or "")
        for field, described in model.model_fields.items()
        if field in values
    ]
    sentences = []
    if category == "datasets":
        sentences = [
            f"splits: {', '.join(made.splits)}",
            f"classes: {', '.join(made.class_names()) or 'none, it has no labels'}",
            f"`bench data verify {shlex.quote(name)}` checks its files",
        ]
    kind = catalogue.SINGULAR.get(category, category.removesuffix("s"))
    return Described(values["name"], kind, sentences, fields)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _print_table(
    console: Console,
    heading: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    notes: Sequence[str] = (),
) -> None:
    grid = Grid(heading, list(columns), [list(row) for row in rows], list(notes))
    print_grid(grid, console, "--format plain")
