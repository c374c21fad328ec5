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
from harness.errors import DataError
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
    from harness.data.verify import verify as find_problems

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
    report = Reporter(console)
    if data_root is None:
        console.print("generated data (no data root was given)")
        opened = _generated(report)
    else:
        root, names = _data_sets_in(data_root)
        with hashing_shown():
            opened = {name: _labelled(partial(open_dataset, name, root)) for name in names}
    columns = {}
    for name, dataset in opened.items():
        split = "" if dataset.split == "train" else f" {dataset.split}"
        with report.counting(f"counting the classes of {name}{split}, once") as counted:
            stats = class_statistics(dataset, counted)
        pixels = stats.pixels / max(stats.pixels.sum(), 1)
        images = (stats.counts > 0).mean(0)
        columns[f"{name}{split} ({len(dataset)})"] = [
            f"{100 * share:.2f} / {100 * shown:.0f}"
            for share, shown in zip(pixels, images, strict=False)  # ignored pixels are left out
        ]
    print_grid(
        Grid(
            "share of pixels / of images, percent",
            ["class", *columns],
            [[name, *(cells[i] for cells in columns.values())] for i, name in enumerate(names)],
            [],
        ),
        console,
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
