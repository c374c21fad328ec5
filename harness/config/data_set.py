"""A data set (benchmarks/datasets/*.toml): where its files lie, and what its labels mean."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.config.class_set import IGNORED, Colour, Name, Strict

#: Of a label, as it is stored.
Id = Annotated[int, Field(ge=0, le=255)]


class Place(Strict):
    """Folders of images, and those of their labels, as patterns: * and parts in braces."""

    images: str
    labels: tuple[str, ...] = ()


class FileLayout(Strict):
    """One way to lay out the files below the data set's folder.

    `{split}` is a split's `path`, any other word in braces each of the values that `parts` gives
    it. Folders are searched to their depth. Where no pattern has a `{split}`, the splits share the
    folders, and lists of names or the splits' own rules say which images belong to which.
    """

    places: tuple[Place, ...] = Field(min_length=1)
    parts: dict[str, tuple[str, ...]] = Field({})
    image: str = Field("{name}", description="name of an image, less its suffix")
    label: tuple[str, ...] = Field(
        ("{name}.png",), min_length=1, description="names of its label; the first that is there"
    )
    suffixes: tuple[Literal[".png", ".jpg", ".jpeg", ".tif", ".tiff"], ...] = Field(
        (".png", ".jpg", ".jpeg"), min_length=1, description="of images, in any case"
    )
    lists: str = Field(
        "", description="file of the names of a split's images, one a line, where there is one"
    )

    @model_validator(mode="after")
    def _names_have_a_name(self) -> FileLayout:
        for pattern in (self.image, *self.label):
            if pattern.count("{name}") != 1:
                raise ValueError(f"{pattern!r} has no {{name}}; expected it once")
        texts = [text for place in self.places for text in (place.images, *place.labels)]
        words = {word for text in texts for word in _WORD.findall(text)}
        if strange := sorted(words - {"split", *self.parts}):
            raise ValueError(f"{{{strange[0]}}} is no part; expected {{split}}, or values in parts")
        return self

    @property
    def shared(self) -> bool:
        """Whether all splits lie in the same folders."""
        return bool(self.lists) or not any("{split}" in place.images for place in self.places)


_WORD = re.compile(r"\{(\w+)\}")


class Split(Strict):
    """Images that are used together."""

    published: int | None = Field(None, ge=1, description="images, as the authors say")
    path: str = Field("", description="what {split} stands for in patterns; empty: its name")
    labelled: bool = Field(True, description="false: published without labels")
    optional: bool = Field(False, description="true: need not be there")
    ranges: tuple[tuple[str, str], ...] = Field(
        (), description="first and last name (or its beginning) where splits share folders"
    )
    every: int | None = Field(
        None, ge=2, description="each so-manieth image where splits share folders"
    )


class Subset(Strict):
    """A further name: some images of some splits."""

    splits: tuple[str, ...] = Field(min_length=1)
    images: str = Field("*", description="pattern of their names, less the suffix")
    without: str = Field("", description="the same of those that are left out")


class LabelEncoding(Strict):
    """How a label is stored, and which class each of its values is."""

    title: str = Field("", description="for messages; empty: by how it is stored")
    stored: Literal["indexed", "red16", "grey16", "colours"] = Field(
        "indexed",
        description="8-bit grey or palette PNG of ids; 16-bit PNG with the id in red; 16-bit grey "
        "PNG; colours",
    )
    divisor: int = Field(1, ge=1, description="of grey16: its values over this are the ids")
    files: tuple[str, ...] = Field(
        (), description="patterns of the names of labels stored so; none: all others"
    )
    ids: dict[str, Name] = Field({}, description="class by id")
    train_ids: bool = Field(False, description="ids are places in the class set, no table needed")
    colours: dict[Name, tuple[Colour, ...]] = Field({}, description="RGB colours by class")
    ignored: tuple[Id | tuple[Id, Id], ...] = Field(
        (), description="known ids that are no class: an id, or the first and the last of several"
    )
    ignored_colours: tuple[Colour, ...] = ()
    seldom_ignored: bool = Field(
        False, description="most pixels have a class: where most have not, files were converted"
    )
    remedy: str = (
        "take the label from the original archive again; in a set of your own name the id in its "
        "file, under ids or in ignored"
    )

    @model_validator(mode="after")
    def _says_what_values_mean(self) -> LabelEncoding:
        for text in self.ids:
            if not (text.isascii() and text.isdigit() and int(text) <= 255):
                raise ValueError(f"ids.{text}: expected an id, a whole number from 0 to 255")
        if (self.stored == "colours") != bool(self.colours):
            raise ValueError(
                'colours: expected a table of them where stored = "colours", only there'
            )
        if self.stored != "colours" and self.train_ids == bool(self.ids):
            raise ValueError("expected either a table of ids, or train_ids = true")
        if self.divisor != 1 and self.stored != "grey16":
            raise ValueError('divisor: expected only where stored = "grey16"')
        if IGNORED in self.class_names():
            ids = [int(i) for i, name in self.ids.items() if name == IGNORED]
            colours = [list(colour) for colour in self.colours.get(IGNORED, ())]
            instead = f"ignored_colours = {colours}" if colours else f"ignored = {ids}"
            raise ValueError(
                f"a class called {IGNORED}; expected its values to be none: remove it and write "
                f"`{instead}` under [[encodings]]"
            )
        known = [colour for colours in self.colours.values() for colour in colours]
        if len(set(known)) < len(known):
            double = next(c for c in known if known.count(c) > 1)
            raise ValueError(f"colours: {double} stands for two classes; expected one")
        if len(known) + len(self.ignored_colours) > 255:
            raise ValueError(f"colours: {len(known)} of them; expected 255 at most")
        return self

    def class_names(self) -> list[str]:
        """Its classes, in the order of their first value."""
        if self.colours:
            return list(self.colours)
        return list(dict.fromkeys(self.ids[i] for i in sorted(self.ids, key=int)))

    def ignored_ids(self) -> set[int]:
        spans = [(one, one) if isinstance(one, int) else one for one in self.ignored]
        return {i for first, last in spans for i in range(first, last + 1)}


class DataSet(Strict):
    """Everything that is to be known of a data set before its files are read."""

    name: str
    title: str = ""
    licence: str = ""
    source: str = Field("", description="where to get it")
    folder: str | None = Field(
        None, description="of the user's own: where its files lie, relative to this file"
    )
    folders: tuple[str, ...] = Field((), description="names of its folder below the data root")
    expected: str = Field("", description="what messages say of its files; empty: the patterns")
    markers: tuple[tuple[str, ...], ...] = Field(
        (), description="a folder is the data set's if all of one list is in it"
    )
    shared_markers: tuple[tuple[str, ...], ...] = Field(
        (), description="the same, of which other sets have some: a name must tell"
    )
    frames: str = Field(
        "", description="regular expression of image names, for folders that sets share"
    )
    classes: str = Field(
        "", description="class set that its classes belong to; empty: its own, in the order of ids"
    )
    hood: bool = Field(
        False,
        description="its images show the car's own hood and rectified borders: pseudo-labels there "
        "have no weight, by ignore_top and ignore_bottom of the profile",
    )
    layouts: tuple[FileLayout, ...] = Field(min_length=1)
    splits: dict[str, Split] = Field(min_length=1)
    selections: dict[str, Subset] = Field({})
    label_files: str = Field("", description="pattern of labels whose image may be missing")
    differing_sizes: bool = Field(
        False, description="published with pairs of differing sizes, which are left out"
    )
    encodings: tuple[LabelEncoding, ...] = Field(
        (), description="how its labels are stored; none: it has no labels"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> DataSet:
        if not self.classes and any(encoding.train_ids for encoding in self.encodings):
            raise ValueError(
                "train_ids = true: expected classes, the class set whose places they are"
            )
        for name, selection in self.selections.items():
            if strange := set(selection.splits) - set(self.splits):
                raise ValueError(f"selections.{name}: there is no split {min(strange)!r}")
        return self

    @property
    def has_labels(self) -> bool:
        return bool(self.encodings)

    @property
    def folder_names(self) -> tuple[str, ...]:
        """Names that its folder goes by below a data root."""
        return self.folders or (self.name,)

    @property
    def published(self) -> dict[str, int | None]:
        """Images of each split as its authors give it out."""
        return {name: split.published for name, split in self.splits.items()}

    def is_labelled(self, split: str) -> bool:
        """Whether a split or selection is there with labels."""
        parts = self.selections[split].splits if split in self.selections else (split,)
        return self.has_labels and all(self.splits[part].labelled for part in parts)

    @property
    def what_it_holds(self) -> str:
        """What a message says of the files expected."""
        if self.expected:
            return self.expected
        patterns = (
            f"{p.images}/{layout.image}.*" for layout in self.layouts for p in layout.places
        )
        return ", or ".join(patterns)

    def class_names(self) -> tuple[str, ...]:
        """Its own classes, by its first encoding."""
        names = dict.fromkeys(name for e in self.encodings for name in e.class_names())
        return tuple(names)
