"""Methods by name: the built-in ones, other packages' by entry point, and those of files."""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from methods import built_in, plug_in
from methods.built_in import BUILT_IN
from methods.hooks import checked

if TYPE_CHECKING:
    from methods.contract import Method

ENTRY_POINT_GROUP = "uda_bench.methods"

#: name -> the user's file, in this process; see `use_files`.
FILES: dict[str, plug_in.PlugIn] = {}


def use_files(paths: Iterable[Path]) -> None:
    """Know the methods in these files, each called after its file, and in no others.

    A file that is named twice counts once. ValueError for a file that is not there, and for a name
    that is taken.
    """
    FILES.clear()
    for path in paths:
        plugin = plug_in.read(path)
        if (known := FILES.get(plugin.name)) and known.path.samefile(path):
            continue
        if plugin.name in names():
            whose = f", of {known.path}" if known else ""
            raise ValueError(
                f"{path}: there is a method {plugin.name} already{whose}; rename the file"
            )
        FILES[plugin.name] = plugin


def origins(name: str) -> dict[str, str]:
    """Whose code the methods are that are not built in, by name.

    A file's sha256; of a package its name, its version and the sha256 of its code.
    """
    known, points = {}, _plug_ins()
    for part in canonical(name).split("+"):
        if part in FILES:
            known[part] = FILES[part].sha256
        elif part in points:
            point = points[part]
            version = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            known[part] = f"{version} {plug_in.package_sha256(point)}".rstrip()
    return known


def _plug_ins() -> dict[str, EntryPoint]:
    """Other packages' methods; none replaces a built-in one, nor that of another package."""
    points: dict[str, EntryPoint] = {}
    for point in _offered(tuple(sys.path)):
        if point.name in BUILT_IN:
            _ignored(point.name, _package(point), "is built in")
        elif point.name in points:
            _ignored(point.name, _package(point), f"{_package(points[point.name])} offers too")
        else:
            points[point.name] = point
    return points


@lru_cache(maxsize=1)
def _offered(path: tuple[str, ...]) -> list[EntryPoint]:
    """The entry points of packages on this module path, by package: read once, all files of it."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=_package)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"


@cache
def _ignored(name: str, package: str, reason: str) -> None:
    """Say so in one line, once."""
    logging.getLogger(__name__).warning(
        "the package %s offers a method %s, which %s: ignored; rename its entry point, or "
        "uninstall the package",
        package,
        name,
        reason,
    )


def _addresses() -> dict[str, str]:
    return BUILT_IN | {name: point.value for name, point in _plug_ins().items()}


def names() -> list[str]:
    """Every method that can be run, built-in ones first."""
    return [*_addresses(), *FILES]


def canonical(name: str) -> str:
    """The one name of a method: those joined by `+` in alphabetical order."""
    return "+".join(sorted(name.split("+")))


def load(name: str) -> type[Method]:
    """Import the method's class; of names joined by `+`, make one.

    KeyError for an unknown name, ValueError for methods that cannot be joined and for another
    package's, or a file's, that cannot be imported.
    """
    if "+" in name:
        from methods.composition import Part, compose

        return compose(tuple(Part(part, load(part)) for part in canonical(name).split("+")))
    if name in FILES:
        return checked(plug_in.load(FILES[name]))
    point = _plug_ins().get(name)
    try:
        with plug_in.exits_raise():
            method = built_in.load(_addresses()[name])
    except (Exception, SystemExit) as error:
        if point is None:
            raise
        raise ValueError(_broken(point, error)) from error
    return checked(method) if point else method


def _broken(point: EntryPoint, error: BaseException) -> str:
    """Names the package that could not be imported; its import may raise anything."""
    return (
        f"the package {_package(point)} offers it as {point.value}, and that cannot be imported "
        f"({type(error).__name__}: {error}); repair or uninstall the package"
    )


def summary(name: str) -> str:
    """First line of the docstring of the method's module, without importing it."""
    if "+" in name:
        return " ".join(map(summary, canonical(name).split("+")))
    if name in FILES:
        return plug_in.summary(FILES[name])
    point = _plug_ins().get(name)
    try:
        with plug_in.exits_raise():
            spec = find_spec(_addresses()[name].partition(":")[0])
    except (Exception, SystemExit) as error:  # looking for a submodule imports its package
        if point is None:
            raise
        return _broken(point, error)
    if spec is None or spec.origin is None:
        return ""
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or ""
    return docstring.partition("\n")[0]
