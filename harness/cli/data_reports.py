"""The verbs of `bench data`: make, verify, stats."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from rich.console import Console

from harness.config import catalogue
from harness.data.datasets import (
    Dataset,
    has_dataset,
    list_samples,
    open_dataset,
    splits_there,
)
from harness.data.layouts import layout_of
from harness.data.rare_class import class_statistics
from harness.data.sources import GENERATED, Role, find_sources
from harness.data.verify import Problem
from harness.data.verify import verify as find_problems
from harness.errors import DataError
from harness.report.cells import NONE
from harness.report.columns import Grid
from harness.report.formats import print_grid
from harness.report.progress import Reporter, hashing_shown


def make(out: Path, profile_name: str, seed: int, console: Console) -> None:
    """Write the renderings below `out`, at the profile's sizes and counts."""
    from harness.data.scenes import write_dataset

    profile = catalogue.profile(profile_name)
    report = Reporter(console)
    for name in GENERATED:
        counts = {"train": profile.generated["source"]}
        if "val" in layout_of(name).splits:
            counts = {"train": profile.generated["target"], "val": profile.generated["val"]}
        size = profile.image_size[name]
        with report.counting(f"drawing street scenes, {name}-like") as drawn:
            folder = write_dataset(name, counts, out, seed=seed, size=size, progress=drawn)
        report.say(f"{folder}: {sum(counts.values())} images")
    report.say("generated data: figures are not comparable with papers")
    report.say(
        f"next: bench run --method daformer --scenario gta2cs --profile {profile_name} "
        f"--data-root {shlex.quote(str(out))}"
    )


def verify(data_root: Path | None, console: Console) -> int:
    """Print every problem of every data set below the root; return the exit code."""
    root, names = _data_sets_in(data_root)
    # A folder of a set's name with nothing of the set in it is a problem, not an absence.
    known = catalogue.names("datasets")
    there = {n for n in known if any((root / f).is_dir() for f in layout_of(n).folders)}
    bad = 0
    for name in (name for name in known if name in there.union(names)):
        with Reporter(console).counting(f"decoding files of {name}") as decoded:
            problems = find_problems(name, root, progress=decoded)
        for problem in problems:
            console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
        if problems:
            _summarise(problems, name, root, console)
        else:
            counts, fingerprints = [], []
            for split in splits_there(name, root):
                dataset = open_dataset(name, root, split)
                counts.append(f"{split} {len(dataset)} of {layout_of(name).published[split]}")
                fingerprints.append(f"{split} {dataset.fingerprint(reread=True)}")
            console.print(f"{name}: good ({', '.join(counts)} images)", highlight=False)
            console.print(f"{name}: fingerprints {', '.join(fingerprints)}", highlight=False)
        bad += sum(problem.fatal for problem in problems)
    return 2 if bad else 0


def verify_own(file: Path, console: Console) -> int:
    """Print what is wrong with a data set of the user's; return the exit code."""
    from harness.data.rare_class import class_statistics

    name, root = _own(file)
    problems = find_problems(name, root)
    for problem in problems:
        console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
    if any(problem.fatal for problem in problems):
        _summarise(problems, name, root, console)
        return 2
    layout = layout_of(name)
    counts: list[str] = []
    seen: set[str] = set()
    for split in splits_there(name, root):
        dataset = open_dataset(name, root, split)
        counts.append(f"{split} {len(dataset)}")
        if dataset.has_labels:
            pixels = class_statistics(dataset).pixels
            seen.update(c for c, n in zip(dataset.classes.names, pixels, strict=True) if n)
    console.print(f"{name}: good ({', '.join(counts)} images)", highlight=False)
    never = [c for c in layout.class_names() if c not in seen]
    if layout.has_labels and never:
        text = f"{name}: no label holds a pixel of {', '.join(never)}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 0


def _own(file: Path) -> tuple[str, Path]:
    """Know a data set of the user's -> its name, and where its files lie."""
    described = catalogue.own_data_set(file)
    catalogue.use_data_sets({described.name: described})
    assert described.folder
    return described.name, Path(described.folder)


def statistics_of_own(file: Path, console: Console) -> None:
    """Print the share of each class in each split of a data set of the user's."""
    name, root = _own(file)
    if not layout_of(name).has_labels:
        raise DataError(f"{name} has no labels; expected some to count the classes of.")
    opened = [open_dataset(name, root, split) for split in splits_there(name, root)]
    titled = {f"{name} {d.split}": d for d in opened if d.has_labels}
    if not titled:
        raise DataError(f"{name} has no split with labels; expected some to count the classes of.")
    _show_statistics(titled, Reporter(console))


def _summarise(problems: list[Problem], name: str, root: Path, console: Console) -> None:
    console.print(f"{name}: {len(problems)} problems", highlight=False)
    for line in _left_out(name, root):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _left_out(name: str, root: Path) -> Iterator[str]:
    """A line a split on what is left out; `open_dataset` says it of a set without problems."""
    for split in layout_of(name).splits:
        with suppress(DataError):  # no such split: a problem that has been named
            if left_out := list_samples(name, root, split)[2]:
                yield f"{name} {split} leaves out {left_out}"


def statistics(data_root: Path | None, console: Console) -> None:
    """Print each class's share of pixels and of images; generated data without a root."""
    report = Reporter(console)
    if data_root is None:
        console.print("generated data (no data root was given)")
        opened = _generated(report)
    else:
        root, names = _data_sets_in(data_root)
        with hashing_shown():
            opened = {name: _labelled_split(name, root) for name in names}
    titles = {
        name: name if dataset.split == "train" else f"{name} {dataset.split}"
        for name, dataset in opened.items()
    }
    _show_statistics({titles[name]: dataset for name, dataset in opened.items()}, report)


#: Characters of a bar that stands for every pixel.
BAR = 20


def _show_statistics(opened: dict[str, Dataset], report: Reporter) -> None:
    """A table of the data sets, a line a class of any of them; of one or two, with bars."""
    columns: dict[str, dict[str, str]] = {}
    drawn: set[str] = set()
    for title, dataset in opened.items():
        with report.counting(f"counting the classes of {title}, once") as counted:
            stats = class_statistics(dataset, counted)
        pixels = stats.pixels / max(stats.pixels.sum(), 1)
        images = (stats.counts > 0).mean(0)
        names = dataset.classes.names
        columns[f"{title} ({len(dataset)})"] = {
            name: f"{100 * share:.2f} / {100 * shown:.0f}"
            for name, share, shown in zip(names, pixels, images, strict=False)  # less ignored ones
        }
        if len(opened) <= 2:
            bars = ["\u2588" * round(BAR * p) or "\u258f" * bool(p) for p in pixels]
            columns[f"{title}, pixels"] = dict(zip(names, bars, strict=False))
            drawn.add(f"{title}, pixels")
    every = dict.fromkeys(name for dataset in opened.values() for name in dataset.classes.names)
    print_grid(
        Grid(
            "share of pixels / of images, percent",
            ["class", *columns],
            [[name, *(cells.get(name, NONE) for cells in columns.values())] for name in every],
            [],
            frozenset(drawn),
        ),
        report.console,
        "a wider terminal",
    )


def _generated(report: Reporter) -> dict[str, Dataset]:
    """The generated sets, drawn where they are not in the cache yet."""
    profile = catalogue.profile("tiny")
    opened: dict[str, Dataset] = {}
    for scenario in ("gta2cs", "synthia2cs", "cs2acdc", "cs2darkzurich"):
        sources = find_sources(catalogue.scenario(scenario), profile, None)
        for source in (sources.source, sources.target):
            name = source.ref.dataset
            if name not in opened:
                with report.counting(f"drawing street scenes, {name}-like") as drawn:
                    opened[name] = _labelled(partial(source.open, progress=drawn))
    return opened


def _labelled(open_split: Callable[[Role], Dataset]) -> Dataset:
    """The split to train on, or the one to score on where only that has labels."""
    train = open_split("train")
    return train if train.has_labels else open_split("val")


def _labelled_split(name: str, root: Path) -> Dataset:
    """The first split of a shipped data set that has labels: each set has one."""
    opened = (open_dataset(name, root, split) for split in layout_of(name).splits)
    return next(dataset for dataset in opened if dataset.has_labels)


def _data_sets_in(data_root: Path | None) -> tuple[Path, list[str]]:
    if data_root is None:
        raise DataError(
            "no data root was given; expected a folder that holds data sets, such as gta5/ and "
            "cityscapes/. Give it with --data-root or UDA_BENCH_DATA; "
            "`bench data make --out DIR` writes a generated one."
        )
    known = catalogue.names("datasets")
    names = [name for name in known if has_dataset(name, data_root)]
    if not names:
        raise DataError(
            f"{data_root} holds no data set; expected one of {', '.join(known)} as a folder in "
            "it (links are welcome)."
        )
    return data_root, names
