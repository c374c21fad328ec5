"""Where a run's data comes from: the user's data root, or the embedded generator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.config.catalogue import classes_of, use_data_sets
from harness.config.schema import DataRef, Profile, RunSpec, Scenario
from harness.data.cache import cache_dir
from harness.data.datasets import Dataset, has_dataset, list_samples, open_once
from harness.data.encodings import Labels, labels_of
from harness.data.images import read_header
from harness.data.layouts import layout_of, list_pairs
from harness.data.locate import find_folder
from harness.data.transforms import fit_size
from harness.errors import DataError

if TYPE_CHECKING:
    from harness.data.scenes.writer import ScenesDrawn

#: Sets that the generator can stand in for.
GENERATED = ("gta5", "synthia", "cityscapes", "acdc", "darkzurich")


#: What a run does with images: learn from them, score on them, or score on them in second place.
Role = Literal["train", "val", "second"]


@dataclass(frozen=True)
class Source:
    """One data set of a run; generated ones are written to the cache when first opened."""

    ref: DataRef
    root: Path | None  # None: generated
    counts: dict[str, int]
    size: tuple[int, int]
    labels: Labels
    splits: dict[Role, str]  # the data set's name for the images of each role
    scored: Source | None = None  # another data set, whose images are scored

    def open(self, role: Role, progress: ScenesDrawn | None = None) -> Dataset:
        """The images of that role, ready to be read."""
        if role == "val" and self.scored:
            return self.scored.open("val")
        name, split = self.ref.dataset, self.splits[role]
        if self.root is not None:
            return open_once(name, self.root, split, self.labels)

        def draw() -> None:
            from harness.data.scenes import ensure_dataset

            ensure_dataset(name, self.counts, size=self.size, progress=progress)

        return open_once(name, cache_dir() / self.ref.fingerprint, split, self.labels, draw)


@dataclass(frozen=True)
class Sources:
    """The two domains of a scenario."""

    source: Source
    target: Source

    @property
    def notice(self) -> str | None:
        """What the first line of a run must say, None when all data is real."""
        if self.source.root and self.target.root:
            return None
        if self.target.root:
            return "the source is generated data: figures are not comparable with papers"
        return "generated data: figures are not comparable with papers"


def find_sources(
    scenario: Scenario,
    profile: Profile,
    data_root: Path | None,
) -> Sources:
    """Open what the data root holds, and plan what must be generated.

    A data set's content is hashed, which takes long once: `fingerprint.hashing_told_to` watches it.
    DataError when a root is given but a set of the scenario is not in it, or when a set without a
    rendering of its own is asked for without a root.
    """
    use_data_sets(scenario.datasets)
    return Sources(
        _find(scenario, "source", profile, data_root),
        _find(scenario, "target", profile, data_root),
    )


def opened(scenario: Scenario, profile: Profile, data_root: Path | None) -> tuple[Profile, Sources]:
    """The profile with sizes of images for all sets, and the sources. DataError as above."""
    profile = sized(scenario, profile, data_root)
    return profile, find_sources(scenario, profile, data_root)


def as_recorded(scenario: Scenario, profile: Profile, spec: RunSpec) -> tuple[Profile, Sources]:
    """The same of the data that a record names and that need not be here: to plan, not to open."""
    use_data_sets(scenario.datasets)
    sizes = spec.profile.image_size | profile.image_size

    def source(ref: DataRef, becomes: dict[str, str]) -> Source:
        labels = labels_of(layout_of(ref.dataset), classes_of(scenario), becomes)
        return Source(ref, None, {}, sizes[ref.dataset], labels, {})

    return profile.model_copy(update={"image_size": sizes}), Sources(
        source(spec.source, scenario.source_classes), source(spec.target, scenario.target_classes)
    )


def find_target(scenario: Scenario, profile: Profile, data_root: Path | None) -> Source:
    """The target alone, for scoring: the source need not be at hand. DataError as above."""
    use_data_sets(scenario.datasets)
    return _find(scenario, "target", profile, data_root)


def find_scored(scenario: Scenario, profile: Profile, data_root: Path | None) -> Source:
    """The set that a scenario scores in its target's place, alone; its rendering without a root.

    DataError as above.
    """
    use_data_sets(scenario.datasets)
    name = scenario.scored
    if data_root is not None or name not in GENERATED:
        return _scored(scenario, profile, data_root)
    labels = labels_of(layout_of(name), classes_of(scenario), scenario.scored_classes)
    return _generated(name, profile, "target", {"val": scenario.eval_split}, labels)


def is_real(scenario: Scenario, data_root: Path | None) -> bool:
    """Whether the root holds both sets of the scenario."""
    return all(is_there(name, data_root) for name in (scenario.source, scenario.target))


def is_there(name: str, data_root: Path | None) -> bool:
    """Whether a data set lies below the root, or where its own file says."""
    root = root_of(name, data_root)
    return root is not None and has_dataset(name, root)


def root_of(name: str, data_root: Path | None) -> Path | None:
    """Where a data set is looked for: where its own file says, else below the root."""
    own = layout_of(name).folder
    return Path(own) if own else data_root


def sized(scenario: Scenario, profile: Profile, data_root: Path | None) -> Profile:
    """The profile with a size of images for each set of the scenario that has no entry.

    It is that of the set's first image, times the profile's image_scale, reduced to its longest
    side.
    """
    use_data_sets(scenario.datasets)
    return sized_for(scenario.sets, profile, data_root)


def sized_for(names: Iterable[str], profile: Profile, data_root: Path | None) -> Profile:
    """The same for some data sets."""
    sizes = dict(profile.image_size)
    for name in names:
        root = root_of(name, data_root)
        rule = profile.longest_side or profile.image_scale
        if name in sizes or not rule or not root or not has_dataset(name, root):
            continue
        _, samples, _ = list_samples(name, root, next(iter(layout_of(name).splits)))
        header = read_header(samples[0].image)
        if header is None:
            raise DataError(f"{samples[0].image}: expected a PNG, JPEG or TIFF file: copy it again")
        scale = profile.image_scale or 1.0
        size = max(1, round(header.width * scale)), max(1, round(header.height * scale))
        longest = profile.longest_side or max(size)
        sizes[name] = size if max(size) <= longest else fit_size(size, (longest, longest))
    return profile.model_copy(update={"image_size": sizes})


def _find(
    scenario: Scenario,
    domain: Literal["source", "target"],
    profile: Profile,
    data_root: Path | None,
) -> Source:
    name: str = getattr(scenario, domain)
    _check_own_folder(name)
    may_generate = domain == "source" and scenario.generated_source
    splits: dict[Role, str] = {"train": scenario.source_split}
    scored: Source | None = None
    if domain == "target":
        splits = {"train": scenario.target_split}
        if scenario.scored:
            scored = _scored(scenario, profile, data_root)
        elif layout_of(name).has_labels:
            splits["val"] = scenario.eval_split
    size = _size(name, profile)
    becomes = scenario.source_classes if domain == "source" else scenario.target_classes
    labels = labels_of(layout_of(name), classes_of(scenario), becomes)
    data_root = root_of(name, data_root)
    if data_root is not None and (has_dataset(name, data_root) or not may_generate):
        train = open_once(name, data_root, splits["train"], labels)
        val = open_once(name, data_root, splits["val"], labels) if "val" in splits else None
        val = scored.open("val") if scored else val
        fingerprint = train.fingerprint() + (val.fingerprint() if val else "")
        splits |= _second(scenario, name, data_root, labels) if "val" in splits else {}
        ref = DataRef(
            dataset=name,
            generated=False,
            fingerprint=fingerprint,
            train_images=len(train),
            val_images=len(val) if val else 0,
        )
        return Source(ref, data_root, {}, size, labels, splits, scored)
    if name in scenario.datasets:
        raise _of_a_record(name, scenario)
    if name not in GENERATED or scored:
        raise DataError(
            f"{name} has no generated rendering and no data root was given; expected a folder "
            f"that holds {name}/. Point --data-root or UDA_BENCH_DATA at it; docs/data.md says "
            "where to get it."
        )
    return _generated(name, profile, domain, splits, labels)


def _check_own_folder(name: str) -> None:
    """DataError where the file of a data set names a folder that is not there."""
    folder = layout_of(name).folder
    if folder and not Path(folder).is_dir():
        raise DataError(
            f"{name}: there is no folder {folder}; expected its images there: correct `folder` in "
            f"the file of {name}, or put the images back."
        )


def _second(scenario: Scenario, name: str, root: Path, labels: Labels) -> dict[Role, str]:
    """The target's further split to score; empty where the scenario or the folder has none.

    DataError for a split that the data set does not know.
    """
    split, layout, folder = scenario.second_split, layout_of(name), find_folder(name, root)
    if not split or split == scenario.eval_split:
        return {}
    known = split in (*layout.splits, *layout.selections)
    if known and not (folder and list_pairs(layout, folder, split)):
        return {}  # a figure less: the run is about the other split
    open_once(name, root, split, labels)
    return {"second": split}


def _size(name: str, profile: Profile) -> tuple[int, int]:
    if name not in profile.image_size:
        raise DataError(
            f"profile {profile.name!r} has no image size for {name}; expected an entry under "
            f"image_size, or the rule of a longest_side or an image_scale. Add one: --set "
            f"profile.image_size.{name}=[WIDTH,HEIGHT], or --set image_scale=0.5"
        )
    return profile.image_size[name]


def _generated(
    name: str,
    profile: Profile,
    domain: Literal["source", "target"],
    splits: dict[Role, str],
    labels: Labels,
) -> Source:
    """A rendering, of as many images as the profile says. DataError for splits it has not."""
    from harness.data.scenes import fingerprint as scenes_fingerprint

    size, counts = _size(name, profile), _counts(profile, domain)
    for split in splits.values():
        if split not in counts:
            raise DataError(
                f"the generated {name} has no split {split!r}; expected {' or '.join(counts)}: "
                "give the real files with --data-root, or another split"
            )
    ref = DataRef(
        dataset=name,
        generated=True,
        fingerprint=scenes_fingerprint(name, counts, size=size),
        train_images=counts["train"],
        val_images=counts.get("val", 0),
    )
    return Source(ref, None, counts, size, labels, splits)


def _scored(scenario: Scenario, profile: Profile, data_root: Path | None) -> Source:
    """The data set that is scored in the target's place."""
    name = scenario.scored
    _check_own_folder(name)
    root = root_of(name, data_root)
    if root is None and name in scenario.datasets:
        raise _of_a_record(name, scenario)
    if root is None or not has_dataset(name, root):
        raise DataError(
            f"found no {name}, which the scenario scores, in {root or 'any data root'}; expected "
            "its folder there: point --data-root at it."
        )
    labels = labels_of(layout_of(name), classes_of(scenario), scenario.scored_classes)
    val = open_once(name, root, scenario.eval_split, labels)
    ref = DataRef(
        dataset=name,
        generated=False,
        fingerprint=val.fingerprint(),
        train_images=0,
        val_images=len(val),
    )
    size = _size(name, profile)
    return Source(ref, root, {}, size, labels, {"val": scenario.eval_split})


def _of_a_record(name: str, scenario: Scenario) -> DataError:
    """The error for a set of the user's own that is known from a record, and so without a place."""
    return DataError(
        f"{name} is a data set of your own, and a record holds no folders; expected the file of "
        f"the run's scenario, {scenario.name}.toml, with the same sets: start the command in its "
        "folder, or give `bench eval` the file with --scenario FILE.toml."
    )


def _counts(profile: Profile, domain: Literal["source", "target"]) -> dict[str, int]:
    """Images to generate by split. DataError where the profile does not say how many."""
    entries: dict[str, Literal["source", "target", "val"]] = {"train": domain}
    if domain == "target":
        entries["val"] = "val"
    for entry in entries.values():
        if entry not in profile.generated:
            raise DataError(
                f"profile {profile.name!r} has no number of generated {entry} images; expected an "
                f"entry under generated. Add one: --set generated.{entry}=N, or give --data-root."
            )
    return {split: profile.generated[entry] for split, entry in entries.items()}
