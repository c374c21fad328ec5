"""`bench cache`: what is kept to be used again, and removing it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.grouped import GroupedVerbs, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from harness.data.cache import Entry

cache_app = typer.Typer(
    help="Show and clear the cache: generated data, decoded images, statistics, speeds.",
    no_args_is_help=True,
    cls=GroupedVerbs,
    rich_markup_mode=None,
    epilog=examples("bench cache list", "bench cache prune --unused 7"),
)
app = typer.Typer()
app.add_typer(cache_app, name="cache")


@cache_app.command("list", epilog=examples("bench cache list"))
def cache_list() -> None:
    """List what the cache holds, with sizes and when it was last used."""
    from rich.console import Console

    from harness.data import cache
    from harness.data.store_build import size_text

    entries = list(cache.entries())
    console = Console()
    if entries:
        _show(entries, console)
    total = size_text(sum(entry.size_bytes for entry in entries))
    end = "; `bench cache prune` removes what was not used for 30 days" if entries else ""
    _say(console, f"{total} in {cache.cache_dir()}{end}")


@cache_app.command(
    "prune", epilog=examples("bench cache prune --dry-run", "bench cache prune --unused 0")
)
def cache_prune(
    unused: Annotated[
        int,
        typer.Option(
            metavar="DAYS", min=0, help="Remove what no run used for so many days; 0: everything."
        ),
    ] = 30,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")
    ] = False,
) -> None:
    """Remove what was not used for long. The next run makes again what it needs.

    A run that trains on generated data reads it from here: keep DAYS above what it takes.
    """
    from rich.console import Console

    from harness.data import cache
    from harness.data.store_build import size_text

    old = cache.unused(unused * cache.DAY)
    gone = old if dry_run else cache.prune(old)
    console = Console()
    if gone:
        _show(gone, console)
    total = size_text(sum(entry.size_bytes for entry in gone))
    _say(console, f"{total} {'would be ' if dry_run else ''}removed from {cache.cache_dir()}")
    if len(gone) < len(old):
        _say(console, f"{len(old) - len(gone)} could not be removed: see who owns them")
        raise typer.Exit(1)


def _show(entries: Sequence[Entry], console: Console) -> None:
    """A line for each folder; small files are counted kind by kind."""
    from itertools import groupby

    from rich.table import Table

    from harness.data.store_build import size_text
    from harness.text import plain

    table = Table("kind", "name", "on disk", "last used")
    for title, of_kind in groupby(entries, key=lambda entry: entry.kind.title):
        held = list(of_kind)
        files = [entry for entry in held if entry.path.suffix == ".json"]
        rows = [(plain(entry.path.name), [entry]) for entry in held if entry not in files]
        if files:
            rows.append((f"{len(files)} files", files))
        for name, members in rows:
            size = sum(entry.size_bytes for entry in members)
            table.add_row(title, name, size_text(size), _ago(max(e.used for e in members)))
    console.print(table)


def _ago(moment: float) -> str:
    days = (time.time() - moment) / 86400
    return "today" if days < 1 else "a day ago" if days < 2 else f"{days:.0f} days ago"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
