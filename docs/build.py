"""Pages of the site that are made, not written: the reference from the code, README and others.

mkdocs calls the two hooks at the end; `python docs/build.py FOLDER` writes the reference there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).parents[1]
#: Files of the repository's root that are pages, by their place in the site.
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
ROOT_PAGES["CHANGELOG.md"] = "CHANGELOG.md"
#: A folder of pages that are no Markdown, which lies in the site as it is.
REPORT = "results/report/"
MADE = "*Made from the code by `docs/build.py`.*"

Rows = Sequence[Sequence[str]]


def table(head: Sequence[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def reference() -> dict[str, str]:
    """Every made page of the reference by its file's name."""
    return {
        "reference/commands.md": commands(),
        "reference/methods.md": methods(),
        "reference/profiles.md": profiles(),
        "reference/names.md": names(),
    }


def commands() -> str:
    """Each verb with its help and options, as `bench VERB --help` has them."""
    from typer.main import get_command

    from harness.cli.main import app

    parts = ["# Commands", MADE, "An option may be given by a variable of the environment, too."]
    for name, command in _verbs("bench", get_command(app)):
        parts += [f"## {name}", (command.help or "").strip()]
        rows = [_parameter(parameter) for parameter in command.params]
        if rows := [row for row in rows if row[0] != "`--help`"]:
            parts.append(table(["option", "default", "what it is"], rows))
    return "\n\n".join(parts) + "\n"


def _verbs(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for verb, inner in getattr(command, "commands", {}).items():
        if getattr(inner, "hidden", False):
            continue
        if getattr(inner, "commands", None):
            yield from _verbs(f"{name} {verb}", inner)
        else:
            yield f"{name} {verb}", inner


def _parameter(parameter: Any) -> tuple[str, str, str]:
    """Name with the values it takes, default, and meaning."""
    shown = parameter.show_default
    if parameter.required:
        default = "(required)"
    elif isinstance(shown, str):
        default = shown
    else:
        default = "" if parameter.default in (None, False, ()) else f"`{parameter.default}`"
    value = "|".join(_values(parameter)) or parameter.metavar or ""
    names = [*parameter.opts, *parameter.secondary_opts]
    name = " / ".join(f"`{name}`" for name in names)
    if parameter.param_type_name == "argument":
        name = f"`{value or names[0].upper()}`"
    elif value:
        name = f"{name} `{value}`"
    help_text = getattr(parameter, "help", None) or ""
    variable = f" Variable: `{parameter.envvar}`." if parameter.envvar else ""
    return name, default, help_text + variable


def _values(parameter: Any) -> list[str]:
    """The words that an option takes, where they are few; typer's versions keep them apart."""
    described = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if get_origin(described) is Literal:
        return [str(value) for value in get_args(described)]
    return list(map(str, getattr(getattr(parameter, "type", None), "choices", ())))


def methods() -> str:
    """Each method with its paper and its knobs, as `bench info NAME` has them."""
    from harness.cli.listing import knobs
    from methods import registry

    parts = ["# Methods and their knobs", MADE, "`--set KNOB=VALUE` sets any of them."]
    for name in registry.names():
        method = registry.load(name)
        paper = f"\n\nPaper: {method.paper}" if method.paper else ""
        rows = [(f"`{knob}`", f"`{default}`", text) for knob, default, text in knobs(method.Config)]
        parts += [
            f"## {name}",
            f"{method.title}.{paper}",
            table(["knob", "default", "what it is"], rows),
        ]
    return "\n\n".join(parts) + "\n"


def profiles() -> str:
    """A row a knob, a column a profile."""
    from harness.config import catalogue
    from harness.config.schema import Profile

    shipped = {name: catalogue.profile(name) for name in catalogue.names("profiles")}
    parts = ["# Knobs of profiles", MADE]
    parts.append("[Profiles](../profiles.md) says what each is for; `--set KNOB=VALUE` sets any.")
    rows = [
        (
            f"`{knob}`",
            *(_value(getattr(profile, knob)) for profile in shipped.values()),
            field.description or "",
        )
        for knob, field in Profile.model_fields.items()
        if knob not in ("name", "description")
    ]
    parts.append(table(["knob", *shipped, "what it is"], rows))
    return "\n\n".join(parts) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items()) or "-"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def names() -> str:
    """What `bench list` prints of the rest."""
    from harness.cli.listing import entries

    parts = ["# Scenarios, suites, networks", MADE]
    parts.append(
        "Any network of timm and of mmsegmentation serves, too: `timm:NAME`, `mmseg:NAME`."
    )
    for category in ("scenarios", "suites", "networks"):
        rows = [(f"`{name}`", text) for name, text in entries(category).items()]
        parts += [f"## {category.capitalize()}", table(["name", "what it is"], rows)]
    return "\n\n".join(parts) + "\n"


#: A link or a picture; code in the text of one has no brackets.
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def relinked(text: str, source: str, place: str) -> str:
    """A page's text with its links as the site has them: files that are no page become names.

    `source` is the page's path in the repository, `place` that in the site.
    """

    def link(match: re.Match[str]) -> str:
        picture, shown, target, anchor = match.group(1, 2, 3, 4)
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = normpath(str(PurePosixPath(source).parent / target))
        page = ROOT_PAGES.get(path) or path.removeprefix("docs/").removeprefix("results/")
        if path not in ROOT_PAGES and not path.startswith(("docs/", REPORT)):
            return f"`{path}`" if path.endswith(shown.strip("`")) else f"{shown} (`{path}`)"
        up = "../" * place.count("/")
        return f"{picture}[{shown}]({up}{page}{anchor or ''})"

    # Not within blocks of code.
    parts = re.split(r"(^```.*?^```$)", text, flags=re.S | re.M)
    return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))


def on_files(files: Any, config: Any) -> Any:
    """Add what is made, and the report as it lies in the repository (a hook of mkdocs)."""
    from mkdocs.structure.files import File

    sys.path.insert(0, str(ROOT))
    made = reference()
    for name, place in ROOT_PAGES.items():
        made[place] = relinked((ROOT / name).read_text("utf-8"), name, place)
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    for path in sorted((ROOT / REPORT).rglob("*")):
        if path.is_file():
            place = path.relative_to(ROOT / "results").as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have a written page's links lead within the site (a hook of mkdocs)."""
    if page.file.generated_by:
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


if __name__ == "__main__":
    for name, text in reference().items():
        path = Path(sys.argv[1]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
