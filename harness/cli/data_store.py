"""`bench data cache`: lists, builds and removes stores of decoded images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.config import catalogue
from harness.config.planning import default_profile, profile_of_real_data
from harness.config.schema import Scenario
from harness.data import cache
from harness.data.datasets import Dataset, has_dataset, open_once, splits_there
from harness.data.sources import find_sources, root_of, sized, sized_for
from harness.data.store import FileKind, Format, Store, stores, stores_folder
from harness.data.store_build import build, check_room, estimate, missing, size_text
from harness.errors import DataError, unknown
from harness.text import plain


class Wanted(NamedTuple):
    """A split at the size that a profile reads it at, and what is read of it."""

    dataset: Dataset
    size: tuple[int, int]
    parts: tuple[FileKind, ...]


def show(console: Console) -> None:
    """List what the cache holds, with sizes on disk."""
    held = list(stores())
    if not held:
        _say(console, f"{stores_folder()} holds no decoded images; `bench data cache gta2cs` ...")
        return
    table = Table("data set", "split", "size", "format", "images", "labels", "on disk", "read from")
    for store in held:
        about = store.description
        size = " x ".join(map(str, about.get("size", ())))
        texts = (about.get("dataset"), about.get("split"), size, about.get("format"))
        table.add_row(
            *(str(text or "?") for text in texts),
            str(store.images),
            str(store.labels),
            size_text(store.size_bytes),
            escape(plain(str(about.get("root", "?")))),
        )
    console.print(table)
    total = size_text(sum(store.size_bytes for store in held))
    _say(console, f"{total} in {stores_folder()}; --remove removes one")


def build_or_remove(
    what: str,
    profile: str | None,
    format_: Format,
    data_root: Path | None,
    console: Console,
    *,
    remove: bool = False,
    dry_run: bool = False,
) -> None:
    """Build the stores of a scenario or a data set; remove them, or only say what they cost.

    BenchError for unknown names, missing or broken data, and where the disk is too small.
    """
    stored = [
        (Store(dataset, size, format_), parts)
        for dataset, size, parts in _wanted(what, profile, data_root, console)
    ]
    for store, parts in stored:
        if remove:
            _remove(store, console, dry_run)
        else:
            _build(store, parts, console, dry_run)


def _build(store: Store, parts: tuple[FileKind, ...], console: Console, dry_run: bool) -> None:
    from harness.report.progress import Reporter

    title = _title(store)
    if not missing(store, parts):
        _say(console, f"{title}: all is there")
        return
    cost = estimate(store, parts)
    _say(console, f"{title}: {cost}")
    if dry_run:
        return
    check_room(cost)
    with Reporter(console).counting(f"decoding {title}") as decoded:
        written = build(store, parts, decoded)
    _say(console, f"{title}: {written} files written to {store.folder}")


def _remove(store: Store, console: Console, dry_run: bool) -> None:
    title = _title(store)
    if not store.held():
        _say(console, f"{title}: nothing to remove")
        return
    if not dry_run:
        cache.remove(store.folder)  # a run that reads it goes on with the data set's own files
    _say(console, f"{title}: {'would be removed' if dry_run else 'removed'}, {store.folder}")


def _title(store: Store) -> str:
    width, height = store.size
    return f"{store.dataset.name} {store.dataset.split} in {width} x {height}, {store.format}"


def _wanted(
    what: str, profile_name: str | None, data_root: Path | None, console: Console
) -> list[Wanted]:
    """What runs of a scenario read while they train and are scored, or all of a data set.

    Where no profile is named, it is that of a run on this machine, and a line says which.
    """
    scenarios = catalogue.names("scenarios")
    own = what.endswith(".toml")
    if what in scenarios or (own and "target" in catalogue.read("scenarios", what)):
        return _wanted_of_scenario(catalogue.scenario(what), profile_name, data_root, console)
    if own:
        described = catalogue.own_data_set(Path(what))
        catalogue.use_data_sets({described.name: described})
        what, data_root = described.name, root_of(described.name, data_root)
    if what not in catalogue.data_set_names():
        raise unknown("scenario or data set", what, [*scenarios, *catalogue.data_set_names()])
    if data_root is None or not has_dataset(what, data_root):
        raise DataError(
            f"found no {what} in {data_root or 'any data root'}; expected its folder there: point "
            "--data-root or UDA_BENCH_DATA at it, or name a scenario to cache generated data."
        )
    name = profile_name or _said(profile_of_real_data(), console)
    profile = sized_for([what], catalogue.profile(name), data_root)
    if what not in profile.image_size:
        raise DataError(
            f"profile {profile.name!r} has no image size for {what}; expected an entry under "
            "image_size. Name another --profile."
        )
    others = "a scenario with others is cached by its own name or file"
    _say(console, f"{what} as it is read in its own classes: {others}")
    wanted = []
    for split in splits_there(what, data_root):
        parts: tuple[FileKind, ...] = ("image", "label") if split == "train" else ("image",)
        wanted.append(Wanted(open_once(what, data_root, split), profile.image_size[what], parts))
    return wanted


def _wanted_of_scenario(
    scenario: Scenario, profile_name: str | None, data_root: Path | None, console: Console
) -> list[Wanted]:
    name = profile_name or _said(default_profile(scenario, data_root), console)
    profile = sized(scenario, catalogue.profile(name), data_root)
    sources = find_sources(scenario, profile, data_root)
    opened: list[tuple[Dataset, tuple[FileKind, ...]]] = [
        (sources.source.open("train"), ("image", "label")),
        (sources.target.open("train"), ("image",)),
    ]
    if sources.target.ref.val_images:
        opened.append((sources.target.open("val"), ("image",)))
    return [Wanted(d, profile.image_size[d.name], parts) for d, parts in opened]


def _said(default: tuple[str, str], console: Console) -> str:
    """The name of a profile that nobody named; its note is printed."""
    name, note = default
    if note:
        _say(console, note)
    return name


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
