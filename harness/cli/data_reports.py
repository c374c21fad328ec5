"""The verbs of `bench data`: make, verify, stats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.config import catalogue
from harness.data.datasets import (
    Dataset,
    has_dataset,
    list_samples,
    open_dataset,
    splits_there,
)
from harness.data.layouts import layout_of
from harness.data.sources import GENERATED, Role
from harness.errors import DataError


def make(out: Path, profile_name: str, seed: int, console: Console) -> None:
    """Write the renderings below `out`, at the profile's sizes and counts."""
    from harness.data.scenes import write_dataset

    profile = catalogue.profile(profile_name)
    for name in GENERATED:
        counts = {"train": profile.generated["source"]}
        if "val" in layout_of(name).splits:
            counts = {"train": profile.generated["target"], "val": profile.generated["val"]}
        folder = write_dataset(name, counts, out, seed=seed, size=profile.image_size[name])
        console.print(
            f"{folder}: {sum(counts.values())} images",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print("generated data: figures are not comparable with papers")


def verify(data_root: Path | None, console: Console) -> int:
    """Print every problem of every data set below the root; return the exit code."""
    from harness.data.verify import verify as find_problems

    root, names = _data_sets_in(data_root)
    # A folder of a set's name with nothing of the set in it is a problem, not an absence.
    known = catalogue.names("datasets")
    there = {n for n in known if any((root / f).is_dir() for f in layout_of(n).folders)}
    bad = 0
    for name in (name for name in known if name in there.union(names)):
        problems = find_problems(name, root)
        for problem in problems:
            console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
        if problems:
            console.print(f"{name}: {len(problems)} problems", highlight=False)
            for line in _left_out(name, root):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
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


def _left_out(name: str, root: Path) -> Iterator[str]:
    """A line a split on what is left out; `open_dataset` says it of a set without problems."""
    for split in layout_of(name).splits:
        with suppress(DataError):  # no such split: a problem that has been named
            if left_out := list_samples(name, root, split)[2]:
                yield f"{name} {split} leaves out {left_out}"


def statistics(data_root: Path | None, console: Console) -> None:
    """Print each class's share of pixels and of images; generated data without a root."""
    from harness.data.rare_class import class_statistics

    if data_root is None:
        from harness.data.sources import find_sources

        profile = catalogue.profile("tiny")
        console.print("generated data (no data root was given)")
        opened = {}
        for scenario in ("gta2cs", "synthia2cs", "cs2acdc", "cs2darkzurich"):
            sources = find_sources(catalogue.scenario(scenario), profile, None)
            for source in (sources.source, sources.target):
                if source.ref.dataset not in opened:
                    opened[source.ref.dataset] = _labelled(source.open)
    else:
        root, names = _data_sets_in(data_root)
        opened = {name: _labelled(partial(open_dataset, name, root)) for name in names}
    table = Table("class", title="share of pixels / of images, percent", title_justify="left")
    columns = []
    for name, dataset in opened.items():
        split = "" if dataset.split == "train" else f" {dataset.split}"
        table.add_column(f"{name}{split} ({len(dataset)})", justify="right")
        stats = class_statistics(dataset)
        pixels = stats.pixels / max(stats.pixels.sum(), 1)
        images = (stats.counts > 0).mean(0)
        columns.append([f"{100 * p:.2f} / {100 * i:.0f}" for p, i in zip(pixels, images)])  # noqa: B905
    for train_id, class_name in enumerate(dataset.classes.names):
        table.add_row(class_name, *(column[train_id] for column in columns))
    console.print(table)


def _labelled(open_split: Callable[[Role], Dataset]) -> Dataset:
    """The split to train on, or the one to score on where only that has labels."""
    train = open_split("train")
    return train if train.has_labels else open_split("val")


def _data_sets_in(data_root: Path | None) -> tuple[Path, list[str]]:
    if data_root is None:
        raise DataError(
            "no data root was given; expected a folder that holds gta5/, synthia/, cityscapes/, "
            "camvid/, acdc/ or darkzurich/. Give it with --data-root or UDA_BENCH_DATA; "
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
